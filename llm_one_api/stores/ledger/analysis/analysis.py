"""Answers questions from the ledger's sums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, func, select

from llm_one_api.stores.ledger.analysis.answers import PeakHour, Row, Sums
from llm_one_api.stores.ledger.analysis.buckets import Buckets
from llm_one_api.stores.ledger.analysis.covering import Kept, PartLevel, Periods
from llm_one_api.stores.ledger.analysis.dear import are_few, ends_are_dear, is_dear, times_are_dear
from llm_one_api.stores.ledger.analysis.folding import Counts, Where, as_sums, fold, fold_times, rows, too_many
from llm_one_api.stores.ledger.analysis.latest import Cursor, latest
from llm_one_api.stores.ledger.analysis.plan import plan, times_of
from llm_one_api.stores.ledger.analysis.questions import Dimension, NotAnswerable, Question, Rank, of_all_time
from llm_one_api.stores.ledger.analysis.reading import (
    FIGURES,
    read,
    read_calls,
    read_times,
    tells_hours_of_days,
    tells_times,
)
from llm_one_api.stores.ledger.engine import one_moment
from llm_one_api.stores.ledger.quarters import quarters_there
from llm_one_api.stores.ledger.rollup_tables import closed_periods, rollups_hour
from llm_one_api.stores.ledger.slots import CALENDRIC, hour_from
from llm_one_api.stores.ledger.sums import hour_of
from llm_one_api.stores.ledger.tables import ledger_seq
from llm_one_api.values import UsageRecord

_p = closed_periods.c
_LONG = timedelta(days=3)
_MARGIN = timedelta(days=40)
"""More than the longest period that can hold a call, so that it stays whole."""
_TOO_DEAR = (
    "too much would have to be added up for that: ask for a shorter time, for days or months of the config's time "
    "zone, or without users and keys"
)
_ENDS_TOO_DEAR = (
    "too many calls would have to be read one by one, for that time, or a day of it, begins or ends within a quarter "
    "of an hour, or within an hour of which quarters are no longer kept: ask for whole quarters, whole hours, or days "
    "of the config's time zone"
)
_FOR_SUMS = "SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)"
"""With its usual 4 MB PostgreSQL sorts on disk, and reads whole tables for a month of them: twice as long. To compile
so many sums takes it 100 ms, more than that saves."""
_RANKS: Mapping[Rank, Callable[[Sums], Any]] = {
    "requests": lambda sums: sums.requests,
    "tokens": lambda sums: sums.total_tokens,
    "cost": lambda sums: sums.cost or 0,
    "errors": lambda sums: sums.failed,
}


class Analysis:
    """Reads sums, each answer of one moment.

    All raise NotAnswerable where no table tells in time, and what the database raises.
    """

    def __init__(self, reading: Engine) -> None:
        """Read over *reading*, an engine for transactions that write nothing."""
        self._reading = reading

    def ask(self, question: Question, most: int | None = None, moment: Connection | None = None) -> list[Row]:
        """Give the sums by bucket, in order, and within each by group, the busiest first.

        Where there was no call, there is no row. More than *most* rows are not answered either.
        """
        found = rows(question, *self._read(question, most, moment))
        if most is not None and len(found) > most:
            raise too_many(most)
        return found

    def top(self, question: Question, by: Rank, limit: int) -> list[tuple[Row, Decimal | None]]:
        """Give the *limit* groups that have most of *by* over all of the time; those that have none are left out.

        Beside each stands its part of what all have together; None: together they have nothing.
        """
        rank = _RANKS[by]
        found = [(row, Decimal(rank(row.sums))) for row in self.ask(msgspec.structs.replace(question, bucket=None))]
        total = sum(amount for _, amount in found)
        first = sorted([one for one in found if one[1]], key=lambda one: one[1], reverse=True)[:limit]
        return [(row, amount / total if total else None) for row, amount in first]

    def peak_hours(self, question: Question) -> list[PeakHour]:
        """Add up what was in each hour of the week, in the zone; those without calls are left out."""
        hourly = msgspec.structs.replace(question, bucket="hour", group_by=(), percentiles=False)
        hours, _ = self._read(hourly)
        found: dict[tuple[int, int], Sequence[int]] = {}
        for (begin, _), figures in hours.items():
            if begin is not None:
                local = begin.astimezone(question.zone)
                place = (local.weekday(), local.hour)
                before = found.get(place)
                found[place] = figures if before is None else [a + b for a, b in zip(before, figures, strict=True)]
        return [
            PeakHour(weekday=weekday, hour=hour, sums=as_sums(figures))
            for (weekday, hour), figures in sorted(found.items())
            if figures[0]
        ]

    def requests(
        self,
        *,
        where: Mapping[Dimension, Sequence[str]] = MappingProxyType({}),
        key: str | None = None,
        before: tuple[datetime, int] | None = None,
        limit: int = 100,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[list[UsageRecord], Cursor | None]:
        """Give a page of calls, the newest first, and the cursor of the next page (None: this is the last)."""
        return latest(
            self._reading, where, key, before=before and Cursor(*before), limit=limit, since=since, until=until
        )

    def moment(self) -> Connection:
        """Connect for a block in which several answers are of the same moment: to be given to those who take one."""
        return one_moment(self._reading)

    def totals(self, moment: Connection | None = None) -> list[Row]:
        """Give the sums of all time by model, endpoint, stream, upstream and outcome."""
        question = of_all_time("model", "endpoint", "stream", "upstream", "outcome")
        return rows(question, *self._read(question, moment=moment, patient=True))

    def latencies(
        self, question: Question, moment: Connection | None = None
    ) -> list[tuple[Row, Mapping[str, Mapping[int, int]]]]:
        """Give, beside each row of an answer, how many calls took how long: {kind: {bucket: calls}}.

        A kind is `duration` or `ttft`; bucket n has the times above 1.05 ** (n - 1) and up to 1.05 ** n microseconds.
        """
        sums, times = self._read(msgspec.structs.replace(question, percentiles=True), moment=moment, patient=True)
        found = rows(question, sums, times)
        # In UTC: two hours of one name are equal in their own zone.
        return [
            (row, times.get((row.bucket and row.bucket.astimezone(UTC), (*row.group.values(),)), {})) for row in found
        ]

    def _read(
        self,
        question: Question,
        most: int | None = None,
        moment: Connection | None = None,
        *,
        patient: bool = False,
    ) -> tuple[dict[Where, Sequence[int]], Counts]:
        sums: dict[Where, Sequence[int]] = {}
        times: Counts = {}
        with nullcontext(moment) if moment is not None else one_moment(self._reading) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(_FOR_SUMS)
            question = _within_the_ledger(connection, question)
            if question.since >= question.until:
                return sums, times
            buckets = Buckets(question.bucket, question.zone)
            kept = _kept(connection, question)
            parts = plan(question, kept)
            if not patient and is_dear(connection, question, parts):
                raise NotAnswerable(_TOO_DEAR)
            if not patient and ends_are_dear(connection, question, parts):
                raise NotAnswerable(_ENDS_TOO_DEAR)
            told = _told(connection, question, kept)
            ends = [(part, *read_calls(connection, question, part)) for part in parts if part.level == "records"]
            parts = [part for part in parts if part.level != "records"]
            for part, found, _ in ends:
                fold(found, buckets.places(part), sums, most)
            for part in parts:
                fold(read(connection, question, part, told), buckets.places(part), sums, most)
            if not question.percentiles or not tells_times(question):
                return sums, times
            if tells_hours_of_days(question):
                parts = list(times_of(parts, kept))
            if patient or not times_are_dear(connection, question, parts):
                for part, _, found_times in ends:
                    fold_times(found_times, buckets.places(part), times)
                for part in parts:
                    fold_times(read_times(connection, question, part), buckets.places(part), times)
        return sums, times


def _within_the_ledger(connection: Connection, question: Question) -> Question:
    """Leave out the years before the first call and after the last: a calendar of them would take seconds."""
    slot = rollups_hour.c.slot
    first, last = (connection.execute(select(end(slot))).scalar() for end in (func.min, func.max))
    if first is None or last is None:
        return msgspec.structs.replace(question, until=question.since)
    return msgspec.structs.replace(
        question, since=max(question.since, first - _MARGIN), until=min(question.until, last + _MARGIN)
    )


def _told(connection: Connection, question: Question, kept: Kept) -> Collection[str]:
    """Tell which figures are not 0 for all calls of the time of *question*: to add up the others is half of the work.

    It is asked of the days of all callers together, which takes some milliseconds.
    """
    if question.until - question.since < _LONG:
        return FIGURES
    whole = msgspec.structs.replace(
        question, since=hour_of(question.since), until=hour_from(question.until.astimezone(UTC)), bucket=None,
        group_by=(), where={}, key=None, exact=False,
    )  # fmt: skip
    parts = plan(whole, kept)
    if not are_few(parts):
        return FIGURES
    told = {"requests", "cost_micros", "cost_picos"}  # costs are corrected by amounts that may be negative
    for part in parts:
        for found in read(connection, whole, part):
            told |= {name for name, figure in zip(FIGURES, found.figures, strict=True) if figure}
    return told


def _kept(connection: Connection, question: Question) -> Kept:
    """Tell what there is to read of the time of *question*."""
    deleted_before = connection.execute(select(ledger_seq.c.deleted_before)).scalar_one()
    # Of a period that reaches beyond an end what is outside is taken away, and that may be told by periods, too.
    around = (_p.since < question.until + _MARGIN, _p.until > question.since - _MARGIN)
    closed: dict[PartLevel, dict[datetime, datetime]] = {level: {} for level in CALENDRIC}
    first, last = question.since, question.until
    for level, since, until in connection.execute(select(closed_periods).where(*around).order_by(_p.since)):
        closed[level][since] = until
        if since < question.until and until > question.since:
            first, last = min(first, since), max(last, until)
    quarters = quarters_there(connection, first, last)
    return Kept(quarters, deleted_before, {level: Periods(ends) for level, ends in closed.items()})
