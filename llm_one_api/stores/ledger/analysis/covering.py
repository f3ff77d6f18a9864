"""What a stretch of time is made of: the longest closed periods, and what has to be added to them and taken from them.

A slot counts where it begins. Where quarters are no longer kept, hours take their place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from llm_one_api.stores.ledger.rollup_tables import Level
from llm_one_api.stores.ledger.slots import CALENDRIC, Calendric, Quarters, hour_from, quarter_from, stretches
from llm_one_api.stores.ledger.sums import hour_of, quarter_of

PartLevel = Level | Literal["records"]

_NOTHING = timedelta()


Period = tuple[datetime, datetime]
"""When it begins and ends."""


class Periods:
    """Closed days, or months. No two of them overlap."""

    def __init__(self, ends: Mapping[datetime, datetime]) -> None:
        """Take when they end, by when they begin."""
        self.ends = ends
        self._begins = sorted(ends)

    def touching(self, since: datetime, until: datetime) -> Iterator[Period]:
        """Give those that have some of the time from *since* until before *until*, in order."""
        for number in range(max(0, bisect_right(self._begins, since) - 1), len(self._begins)):
            begin = self._begins[number]
            if begin >= until:
                return
            if self.ends[begin] > since:
                yield begin, self.ends[begin]


class Kept(NamedTuple):
    """What is there to read."""

    quarters: Quarters
    deleted_before: datetime | None
    """Records from before may be deleted; None: none was."""
    closed: Mapping[PartLevel, Periods]
    """The days and months whose sums are made."""


class Piece(NamedTuple):
    """A stretch of time that consists of whole slots of a level."""

    level: PartLevel
    since: datetime
    until: datetime


Signed = tuple[Piece, int]
"""A piece that is added (1), or taken away (-1), because what it was counted in is longer than what is asked for."""


def covering(since: datetime, until: datetime, kept: Kept, *, exact: bool) -> Iterator[Signed]:
    """Cover the time from *since* until before *until*; *exact*: the ends by records, where they are within a slot."""
    begin, end = since, until
    if exact:
        begin = _nearest(since, kept)
        end = _nearest(until, kept, begin)
    if begin == end and since < until:  # both lie beside the same end of a slot
        yield Piece("records", since, until), 1
        return
    if begin != since:
        yield Piece("records", min(since, begin), max(since, begin)), 1 if since < begin else -1
    yield from _by_periods(begin, end, kept, CALENDRIC[::-1])
    if end != until:
        yield Piece("records", min(until, end), max(until, end)), 1 if end < until else -1


def _nearest(at: datetime, kept: Kept, begin: datetime | None = None) -> datetime:
    """Give where a slot begins or ends next to *at*, if the records in between are there; else *at* itself.

    That of a slot within which *begin* lies is none: it does not count as a whole.
    """
    has = kept.quarters.has(at)
    low, high = (quarter_of(at), quarter_from(at)) if has else (hour_of(at), hour_from(at))
    for end in (low, high) if at - low < high - at else (high, low):
        is_there = kept.deleted_before is None or min(at, end) >= kept.deleted_before
        if is_there and (begin is None or not low < begin < end):
            return end
    return at


def _by_periods(
    since: datetime, until: datetime, kept: Kept, levels: tuple[Calendric, ...], sign: int = 1
) -> Iterator[Signed]:
    """Cover it by what is closed of the first of *levels*, and the rest by what is shorter.

    A period that reaches beyond an end counts as well, less what of it is outside, unless most of it is. So a day of
    another zone than the config's takes as many hours as both are apart, and not all of its own.
    """
    if since >= until:
        return
    if not levels:
        yield from ((Piece(*each), sign) for each in stretches(since, until, kept.quarters))
        return
    level, shorter = levels[0], levels[1:]
    helpful = [each for each in kept.closed[level].touching(since, until) if _helps(*each, since, until, kept)]
    at = since
    for start, end in helpful:
        yield from _by_periods(at, start, kept, shorter, sign)
        yield from _by_periods(start, since, kept, shorter, -sign)
        yield from _by_periods(until, end, kept, shorter, -sign)
        at = end
    yield from _by_periods(at, until, kept, shorter, sign)
    yield from ((Piece(level, run[0][0], run[-1][1]), sign) for run in runs(helpful))


def _helps(start: datetime, end: datetime, since: datetime, until: datetime, kept: Kept) -> bool:
    """Tell whether most of a closed period is within, and what is not can be taken away."""
    outside = [(a, b) for a, b in ((start, since), (until, end)) if a < b]
    if 2 * sum([b - a for a, b in outside], _NOTHING) >= end - start:
        return False
    return all(_can_be_told_apart(a, b, kept) for a, b in outside)


def _can_be_told_apart(since: datetime, until: datetime, kept: Kept) -> bool:
    """Tell whether each call from *since* until *until* is told to be in that time by all sums that have it.

    An hour in which it begins or ends, or a closed day within, has to have its quarters: a day that was closed without
    has the hour where that begins, and what came later where that was.
    """
    days = kept.closed["day"].touching(since, until)
    edges = {since, until, *[edge for day in days for edge in day if since <= edge <= until]}
    return all(hour_of(edge) == edge or kept.quarters.has(edge) for edge in edges)


def runs(periods: Iterable[Period]) -> Iterator[list[Period]]:
    """Put those together that follow one another."""
    run: list[Period] = []
    for period in periods:
        if run and run[-1][1] != period[0]:
            yield run
            run = []
        run.append(period)
    if run:
        yield run
