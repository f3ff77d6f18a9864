"""Sums by days and months, made when those are over.

The hours of a month with many callers have too many rows to be read while somebody waits. To add to days with each
ingest would cost it a quarter of its speed, so a day is added up once, from its hours, when it is over: it is *closed*.
What comes in late, or gets another price, is from then on added to the day too, in the same transaction. A backlog is
not: it would take twice as long, so it opens the day, which is closed again later.

Which days are closed stands in `closed_periods` with their bounds. So whoever reads or adds needs no time zone: days of
another zone than the config's are used where they fit, and what is not closed is read from the hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select

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
    closed_periods,
    latencies_day_hours,
    latencies_quarter,
    rollups_hour,
    traffic_quarter,
)
from llm_one_api.stores.ledger.slots import CALENDRIC, Calendric, Stretch, periods, stretches
from llm_one_api.stores.ledger.summing import (
    all_of,
    bounds_of,
    rows_of,
    sources_of,
    summed_into,
    summed_up,
    times_of,
)
from llm_one_api.stores.ledger.sums import Rows, Sums, hour_of, together

_SUMMED = (ROLLUPS, TRAFFIC)
_REQUESTS = ROLLUP_COUNTS.index("requests")
_p = closed_periods.c
_LONGEST = timedelta(days=33)
"""No month is longer."""
BACKLOG = 50
"""So many calls of a closed day in one batch are no stragglers: there will be more, each at the price of two."""


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
        self._add_times = {level: packing.Adding(LATENCIES[level], engine.dialect) for level in CALENDRIC}
        self._add_hours = packing.AddingByHours(engine.dialect)

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
                connection.execute(summed_into(table, sources_of(tables, found)), bounds_of(period.since, found))
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
            for period in self._still_closed(connection, closed, tables[traffic_quarter]):
                self._add_to(connection, period, tables)

    def _still_closed(self, connection: Connection, closed: list[Period], calls: Rows) -> list[Period]:
        """Open the days, and their months, that a backlog comes in for; give the others of *closed*."""
        for day in [period for period in closed if period.level == "day"]:
            late = sum(sums[_REQUESTS] for key, sums in calls.items() if day.since <= key[0] < day.until)
            if late >= BACKLOG and _can_wait(day):
                self.reopen(connection, day.since, day.until)
                closed = [one for one in closed if one.since >= day.until or one.until <= day.since]
        return closed

    def _add_to(self, connection: Connection, period: Period, tables: dict[Table, Rows]) -> None:
        def within(rows: Rows) -> Rows:
            return {key: sums for key, sums in rows.items() if period.since <= key[0] < period.until}

        for each in _SUMMED:
            rows = within(tables[each["quarter"]])
            self._add[each[period.level]](connection, together(rows, lambda key: (period.since, *key[1:])))
        if times := within(tables[latencies_quarter]):
            self._add_times[period.level](connection, times, period.since)
            if period.level == "day":
                self._add_hours(connection, times, period.since)

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
        of which one end lies within an hour whose quarters are gone, and what is opened meanwhile.
        """
        with self._reading.connect() as connection:
            asked = select(closed_periods).where(*_touching(since, until)).order_by(_p.level, _p.since)
            closed = [Period(*row) for row in connection.execute(asked)]
        for period in closed:
            with one_moment(self._reading) as connection:
                found = _stretches(connection, period)
                if found is None or not _is_exact(found) or period not in _overlapping(connection, period):
                    continue
                for tables in _SUMMED:
                    table = tables[period.level]
                    asked = summed_up(table, sources_of(tables, found))
                    expected = rows_of(connection, table, asked, bounds_of(period.since, found))
                    there = rows_of(connection, table, all_of(table), period._asdict())
                    yield from compare(table, expected, there)
                table = LATENCIES[period.level]
                packed_there = packing.apart(dict(packing.read(connection, table, period.since, period.until)))
                whole = _month(connection, period)
                if period.level == "day":
                    rows = _counted(connection, period, found)
                    whole = packing.whole(rows, period.since)
                    expected = packing.hours_apart(packing.by_hours(rows, period.since))
                    hours = packing.hours_apart(packing.read_hours(connection, period.since))
                    yield from compare(latencies_day_hours, expected, hours, packed=packing.LAID_OUT_BY_HOURS)
                yield from compare(table, packing.apart(whole), packed_there, packed=packing.LAID_OUT)


def _can_wait(day: Period) -> bool:
    """Tell whether *day* would be the same if it was closed later.

    Where it begins or ends within an hour it takes quarters, which retention keeps as long as it is closed.
    """
    return hour_of(day.since) == day.since and hour_of(day.until) == day.until


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


def _counted(connection: Connection, period: Period, found: Sequence[Stretch]) -> Rows:
    """Give the calls of a day by how long they took, each with its hour or quarter."""
    rows = connection.execute(times_of(sources_of(LATENCIES, found)), bounds_of(period.since, found))
    return {tuple(row[:-1]): [row[-1]] for row in rows}


def _month(connection: Connection, period: Period) -> dict[packing.Key, packing.Spread]:
    """Add up how many calls of a month took how long."""
    return packing.together(packing.read(connection, LATENCIES["day"], period.since, period.until), period.since)
