"""Which table tells which part of the time: the coarsest that tells it exactly.

A slot counts where it begins. Where quarters are no longer kept, hours take their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple

from llm_one_api.stores.ledger.analysis.questions import NotAnswerable, Question
from llm_one_api.stores.ledger.rollup_tables import Level
from llm_one_api.stores.ledger.slots import (
    CALENDRIC,
    Calendric,
    Quarters,
    has_whole_hours,
    hour_from,
    periods,
    quarter_from,
    stretches,
)
from llm_one_api.stores.ledger.sums import HOUR, QUARTER, hour_of, quarter_of

_FEW = 40
"""Buckets that are asked for one by one. To read slot by slot what many have to be made of takes fewer questions."""
_MOST_SLOTS = 5000
"""That a statement names one by one."""
_LENGTHS: dict[str, timedelta] = {"hour": HOUR, "quarter": QUARTER}


class Kept(NamedTuple):
    """What is there to read."""

    quarters: Quarters
    deleted_before: datetime | None
    """Records from before may be deleted; None: none was."""
    closed: Mapping[Calendric, Mapping[datetime, datetime]]
    """The days and months whose sums are made: when they end, by when they begin, in order."""


PartLevel = Level | Literal["records"]


class Part(NamedTuple):
    """A stretch of time, and the slots that tell what was in it."""

    level: PartLevel
    since: datetime
    until: datetime
    by_slot: bool = False
    """Slot by slot; else all in one, for it lies in one bucket."""
    only: tuple[datetime, ...] | None = None
    """Not all slots in between but these."""
    days: tuple[datetime, ...] = ()
    """The closed days by whose rows the hours in between are told, where those are not read one by one."""


def plan(question: Question, kept: Kept) -> list[Part]:
    """Cut the time of *question* into parts. Raises NotAnswerable where no table can tell."""
    since, until = question.since.astimezone(UTC), question.until.astimezone(UTC)
    if since >= until:
        return []
    if question.bucket == "15m":
        if not kept.quarters.has(since):
            raise NotAnswerable("quarters of an hour are no longer kept of that time: ask with bucket=hour")
        return [Part("quarter", since, until, by_slot=True)]
    if question.bucket == "hour":
        return list(_by_hours(since, until, question, kept))
    if question.bucket is None:
        return list(_covering(since, until, kept, exact=question.exact))
    cut = periods(question.zone, question.bucket, since, until)
    pieces = [since, *(begin for begin, _ in cut if begin > since), until]
    parts = [part for a, b in pairwise(pieces) for part in _covering(a, b, kept, exact=question.exact)]
    return list(_in_a_row(parts if len(pieces) <= _FEW else _together(parts), question.bucket))


def _by_hours(since: datetime, until: datetime, question: Question, kept: Kept) -> Iterator[Part]:
    """Cover it slot by slot: by hours, or by quarters, as far as they are kept, where local hours begin between."""
    begin = until
    if not has_whole_hours(question.zone, since, until):
        begin = since if kept.quarters.since is None else min(max(since, kept.quarters.since), until)
    if since < begin:
        yield Part("hour", since, begin, by_slot=True)
    if begin < until:
        yield Part("quarter", begin, until, by_slot=True)


def _covering(since: datetime, until: datetime, kept: Kept, *, exact: bool) -> Iterator[Part]:
    """Cover a stretch that lies in one bucket."""
    begin, end = since, until
    if exact:
        begin, end = _ends(since, until, kept)
        if begin > end:  # both ends lie in one quarter, or hour
            begin = end = until
    if since < begin:
        yield Part("records", since, begin)
    yield from _by_periods(begin, end, kept, CALENDRIC[::-1])
    if end < until:
        yield Part("records", end, until)


def _ends(since: datetime, until: datetime, kept: Kept) -> tuple[datetime, datetime]:
    """Tell where sums begin and end that lie wholly within, as far as what is beside them can be read from records."""
    begin, end = since, until
    if kept.deleted_before is None or since >= kept.deleted_before:
        begin = quarter_from(since) if kept.quarters.has(since) else hour_from(since)
    whole = quarter_of(until) if kept.quarters.has(until) else hour_of(until)
    if kept.deleted_before is None or whole >= kept.deleted_before:
        end = whole
    return begin, end


def _by_periods(since: datetime, until: datetime, kept: Kept, levels: tuple[Calendric, ...]) -> Iterator[Part]:
    """Cover it by what is closed of the first of *levels*, and the rest by what is shorter."""
    if not levels:
        yield from (Part(*each) for each in stretches(since, until, kept.quarters))
        return
    level, *shorter = levels
    at, begin = since, since
    for start, end in kept.closed[level].items():
        if start < at or end > until:
            continue
        if start > at:
            if begin < at:
                yield Part(level, begin, at)
            yield from _by_periods(at, start, kept, tuple(shorter))
            begin = start
        at = end
    if begin < at:
        yield Part(level, begin, at)
    if at < until:
        yield from _by_periods(at, until, kept, tuple(shorter))


def _in_a_row(parts: Iterable[Part], bucket: str) -> Iterator[Part]:
    """Read slots that are buckets in one go."""
    waiting: Part | None = None
    for part in parts:
        if part.level != bucket:
            if waiting:
                yield waiting
            waiting = None
            yield part
        elif waiting and waiting.until == part.since:
            waiting = waiting._replace(until=part.until)
        else:
            if waiting:
                yield waiting
            waiting = part._replace(by_slot=True)
    if waiting:
        yield waiting


def _together(parts: Sequence[Part]) -> Iterator[Part]:
    """Read the hours of all buckets in one go, and the quarters in another."""
    for level, length in _LENGTHS.items():
        mine = [part for part in parts if part.level == level]
        if mine:
            if all(a.until == b.since for a, b in pairwise(mine)):
                yield Part(mine[0].level, mine[0].since, mine[-1].until, by_slot=True)
                continue
            slots = tuple(slot for part in mine for slot in _slots(part, length))
            for start in range(0, len(slots), _MOST_SLOTS):
                some = slots[start : start + _MOST_SLOTS]
                yield Part(mine[0].level, some[0], some[-1] + length, by_slot=True, only=some)
    yield from (part for part in parts if part.level not in _LENGTHS)


def _slots(part: Part, length: timedelta) -> Iterator[datetime]:
    at = hour_from(part.since) if part.level == "hour" else quarter_from(part.since)
    while at < part.until:
        yield at
        at += length


def times_of(parts: Iterable[Part], kept: Kept) -> Iterator[Part]:
    """Tell the same time for how long calls took: hours of closed days stand in the rows of these, packed."""
    for part in parts:
        if part.level != "hour":
            yield part
            continue
        at = part.since
        for days in _runs(kept.closed["day"], part):
            since, until = hour_from(days[0][0]), hour_of(days[-1][1])
            if since >= until:
                continue
            if at < since:
                yield part._replace(since=at, until=since)
            yield part._replace(since=since, until=until, days=tuple(begin for begin, _ in days))
            at = until
        if at < part.until:
            yield part._replace(since=at)


def _runs(days: Mapping[datetime, datetime], part: Part) -> Iterator[list[tuple[datetime, datetime]]]:
    """Give the days that are in a part, those together that follow one another."""
    run: list[tuple[datetime, datetime]] = []
    for begin, end in days.items():
        if part.since <= begin and end <= part.until:
            if run and run[-1][1] != begin:
                yield run
                run = []
            run.append((begin, end))
    if run:
        yield run
