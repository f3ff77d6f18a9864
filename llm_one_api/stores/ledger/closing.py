"""Sums by days and months, made when those are over.

The hours of a month with many callers have too many rows to be read while somebody waits. To add to days with each
ingest would cost it a quarter of its speed, so a day is added up once, from its hours, when it is over: it is *closed*.
What comes in late, or gets another price, is from then on added to the day too, in the same transaction.

Which days are closed stands in `closed_periods` with their bounds. So whoever reads or adds needs no time zone: days of
another zone than the config's are used where they fit, and what is not closed is read from the hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Table, bindparam, delete, func, insert, select, union_all

from llm_one_api.stores.ledger import packing
from llm_one_api.stores.ledger.bulk import Adding
from llm_one_api.stores.ledger.comparing import Difference, compare
from llm_one_api.stores.ledger.engine import one_moment, reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.quarters import quarters_there
from llm_one_api.stores.ledger.rollup_tables import (
    LATENCIES,
    ROLLUP_COUNTS,
    ROLLUPS,
    TRAFFIC,
    Level,
    closed_periods,
    latencies_day_hours,
    latencies_quarter,
    rollups_hour,
)
from llm_one_api.stores.ledger.slots import CALENDRIC, Calendric, Stretch, periods, stretches
from llm_one_api.stores.ledger.sums import Rows, Sums, hour_of, together

_SUMMED = (ROLLUPS, TRAFFIC)
_p = closed_periods.c
_LONGEST = timedelta(days=33)
"""No month is longer."""


class Period(NamedTuple):
    """A day or a month."""

    level: Calendric
    since: datetime
    until: datetime


class Closing:
    """Closes days and months, on one engine. What takes a connection is a part of that connection's transaction."""

    def __init__(self, engine: Engine) -> None:
        """Keep it, and the statements."""
        self._engine = engine
        self._reading = reading(engine)
        self._add = {tables[level]: Adding(tables[level], engine.dialect) for tables in _SUMMED for level in CALENDRIC}

    def due(self, zone: ZoneInfo, until: datetime) -> list[Period]:
        """Tell which days and months of *zone* that are over before *until* are to be closed, the newest days first.

        Those that are closed and are none of *zone*, because the config had another one, are opened.
        """
        with self._reading.connect() as connection:
            first: datetime | None = connection.execute(select(func.min(rollups_hour.c.slot))).scalar()
            closed = {Period(*row) for row in connection.execute(select(closed_periods))}
        if first is None:
            return []
        [(first, _)] = periods(zone, "month", first, first)  # a month is closed when all its days are
        wanted = [
            Period(level, *period)
            for level in CALENDRIC
            for period in reversed(periods(zone, level, first, max(first, until)))
            if period[1] <= until
        ]
        foreign = closed.difference(wanted)
        if foreign:
            with self._engine.begin() as connection:
                lock(connection)
                for period in foreign:
                    self.reopen(connection, period.since, period.until)
        return [period for period in wanted if period not in closed]

    def close(self, period: Period) -> bool:
        """Make the sums of *period*; tell whether it is closed now: a month is when all its days are."""
        with self._engine.begin() as connection:
            lock(connection)
            if there := _overlapping(connection, period):
                return period in there
            found = _stretches(connection, period)
            if found is None:
                return False
            for tables in _SUMMED:
                table = tables[period.level]
                connection.execute(delete(table).where(table.c.slot >= period.since, table.c.slot < period.until))
                connection.execute(_summed_into(table, _sources(tables, found)), _bounds(period, found))
            table = LATENCIES[period.level]
            connection.execute(delete(table).where(table.c.slot >= period.since, table.c.slot < period.until))
            if period.level == "day":
                hours = latencies_day_hours
                connection.execute(delete(hours).where(hours.c.slot >= period.since, hours.c.slot < period.until))
                rows = _counted(connection, period, found)
                packing.write(connection, table, packing.whole(rows, period.since))
                packing.write_hours(connection, packing.by_hours(rows, period.since))
            else:
                packing.write(connection, table, _month(connection, period))
            connection.execute(insert(closed_periods).values(period._asdict()))
        return True

    def reopen(self, connection: Connection, since: datetime | None = None, until: datetime | None = None) -> None:
        """Have the days and months that hold a part of that time made anew; without bounds, all."""
        asked = delete(closed_periods)
        if since is not None and until is not None:
            asked = asked.where(_p.since < until, _p.until > since)
        connection.execute(asked)

    def add(self, connection: Connection, sums: Sums) -> None:
        """Add *sums* to the days and months that are closed: what came in late, or was priced anew."""
        ends = sums.ends
        if ends is None:
            return
        oldest, newest = ends
        asked = select(closed_periods).where(_p.since <= newest, _p.since > oldest - _LONGEST, _p.until > oldest)
        closed = [Period(*row) for row in connection.execute(asked)]
        if closed:
            tables = dict(sums.tables())
            for period in closed:
                self._add_to(connection, period, tables)

    def _add_to(self, connection: Connection, period: Period, tables: dict[Table, Rows]) -> None:
        def within(rows: Rows) -> Rows:
            return {key: sums for key, sums in rows.items() if period.since <= key[0] < period.until}

        for each in _SUMMED:
            rows = within(tables[each["quarter"]])
            self._add[each[period.level]](connection, together(rows, lambda key: (period.since, *key[1:])))
        if times := within(tables[latencies_quarter]):
            packing.add(connection, LATENCIES[period.level], times, period.since)
            if period.level == "day":
                packing.add_hours(connection, times, period.since)

    def count(self, since: datetime, until: datetime) -> dict[str, int]:
        """Count what `differences` compares."""
        asked = select(_p.level, func.count().label("periods")).where(*_touching(since, until)).group_by(_p.level)
        with self._reading.connect() as connection:
            found: dict[str, int] = {row.level: row.periods for row in connection.execute(asked)}
        return {f"{level}s": found.get(level, 0) for level in CALENDRIC}

    def close_anew(self, slots: Collection[datetime]) -> None:
        """Make the sums of the closed days and months anew that one of *slots* lies in."""
        with self._reading.connect() as connection:
            closed = [Period(*row) for row in connection.execute(select(closed_periods).order_by(_p.level, _p.since))]
        wrong = [period for period in closed if any(period.since <= at < period.until for at in slots)]
        with self._engine.begin() as connection:
            lock(connection)
            for period in wrong:
                self.reopen(connection, period.since, period.until)
        opened = [one for one in closed if any(one.since < each.until and one.until > each.since for each in wrong)]
        for period in opened:  # days come before months
            self.close(period)

    def differences(self, since: datetime, until: datetime) -> Iterator[Difference]:
        """Compare closed days and months of the time from *since* until *until*, or next to it, with their hours.

        So who looks at a day that is not closed yet sees the one before. Each is read at one moment. Left out are days
        of which one end lies within an hour whose quarters are gone.
        """
        with self._reading.connect() as connection:
            asked = select(closed_periods).where(*_touching(since, until)).order_by(_p.level, _p.since)
            closed = [Period(*row) for row in connection.execute(asked)]
        for period in closed:
            with one_moment(self._reading) as connection:
                found = _stretches(connection, period)
                if found is None or not _is_exact(found):
                    continue
                for tables in _SUMMED:
                    table = tables[period.level]
                    asked = _summed_up(table, _sources(tables, found))
                    expected = _rows(connection, table, asked, _bounds(period, found))
                    yield from compare(table, expected, _rows(connection, table, _of_a_time(table), period._asdict()))
                table = LATENCIES[period.level]
                there = packing.apart(dict(packing.read(connection, table, period.since, period.until)))
                whole = _month(connection, period)
                if period.level == "day":
                    rows = _counted(connection, period, found)
                    whole = packing.whole(rows, period.since)
                    expected = packing.hours_apart(packing.by_hours(rows, period.since))
                    hours = packing.hours_apart(packing.read_hours(connection, period.since))
                    yield from compare(latencies_day_hours, expected, hours, packed=packing.LAID_OUT_BY_HOURS)
                yield from compare(table, packing.apart(whole), there, packed=packing.LAID_OUT)


def _touching(since: datetime, until: datetime) -> tuple[Any, Any]:
    return _p.until >= since, _p.since < until


def _overlapping(connection: Connection, period: Period) -> set[Period]:
    """Give what is closed of *period* by its level."""
    asked = select(closed_periods).where(
        _p.level == period.level, _p.since < period.until, _p.since > period.since - _LONGEST, _p.until > period.since
    )
    return {Period(*row) for row in connection.execute(asked)}


def _stretches(connection: Connection, period: Period) -> list[Stretch] | None:
    """Tell which slots *period* is made of; None: a day of the month is not closed."""
    if period.level == "day":
        return list(stretches(period.since, period.until, quarters_there(connection, period.since, period.until)))
    at = period.since
    days = select(_p.since, _p.until).where(_p.level == "day", _p.since >= period.since, _p.since < period.until)
    for since, until in connection.execute(days.order_by(_p.since)):
        if since != at:
            return None
        at = until
    return [Stretch("day", period.since, period.until)] if at == period.until else None


def _is_exact(stretches: Sequence[Stretch]) -> bool:
    """Tell whether no hour had to be taken for a part of it."""
    return all(part.level != "hour" or {hour_of(at) == at for at in part[1:]} == {True} for part in stretches)


def _sources(tables: Mapping[Level, Table], found: Sequence[Stretch]) -> tuple[Table, ...]:
    return tuple(tables[part.level] for part in found)


def _bounds(period: Period, found: Sequence[Stretch]) -> dict[str, datetime]:
    """Give the parameters of what is summed up."""
    bounds = {"begin": period.since}
    for number, part in enumerate(found):
        bounds |= {f"since_{number}": part.since, f"until_{number}": part.until}
    return bounds


# To build a statement costs more than to execute it, and there are a few of them only.
@cache
def _summed_up(table: Table, sources: tuple[Table, ...]) -> Any:
    """Add the slots of *sources* up, a stretch of time of each, as rows of *table*."""
    names = [column.name for column in table.columns if column.name not in {"slot", *ROLLUP_COUNTS}]
    columns = _columns(sources, (*names, *ROLLUP_COUNTS))
    slot = bindparam("begin", type_=table.c.slot.type)
    sums = [func.sum(columns[name]) for name in ROLLUP_COUNTS]
    return select(slot, *[columns[name] for name in names], *sums).group_by(*[columns[name] for name in names])


@cache
def _summed_into(table: Table, sources: tuple[Table, ...]) -> Any:
    return insert(table).from_select([column.name for column in table.columns], _summed_up(table, sources))


@cache
def _times(sources: tuple[Table, ...]) -> Any:
    return select(*_columns(sources, [column.name for column in sources[0].columns]))


def _columns(sources: Sequence[Table], names: Sequence[str]) -> Any:
    parts = []
    for number, table in enumerate(sources):
        slot, kind = table.c.slot, table.c.slot.type
        since, until = (bindparam(f"{name}_{number}", type_=kind) for name in ("since", "until"))
        parts.append(select(*[table.c[name] for name in names]).where(slot >= since, slot < until))
    return (parts[0] if len(parts) == 1 else union_all(*parts)).subquery().c


def _counted(connection: Connection, period: Period, found: Sequence[Stretch]) -> Rows:
    """Give the calls of a day by how long they took, each with its hour or quarter."""
    rows = connection.execute(_times(_sources(LATENCIES, found)), _bounds(period, found))
    return {tuple(row[:-1]): [row[-1]] for row in rows}


def _month(connection: Connection, period: Period) -> dict[packing.Key, packing.Spread]:
    """Add up how many calls of a month took how long."""
    return packing.together(packing.read(connection, LATENCIES["day"], period.since, period.until), period.since)


def _rows(connection: Connection, table: Table, asked: Any, values: Mapping[str, Any]) -> Rows:
    keys = len(table.primary_key.columns)
    rows = connection.execute(asked, values)
    return {tuple(row[:keys]): [int(figure) for figure in row[keys:]] for row in rows}


@cache
def _of_a_time(table: Table) -> Any:
    slot, kind = table.c.slot, table.c.slot.type
    return select(table).where(slot >= bindparam("since", type_=kind), slot < bindparam("until", type_=kind))
