"""What a stretch of time is made of: the longest closed periods, and what has to be added to them and taken from them.

A slot counts where it begins. Where quarters are no longer kept, hours take their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from llm_one_api.stores.ledger.rollup_tables import Level
from llm_one_api.stores.ledger.slots import CALENDRIC, Calendric, Quarters, hour_from, quarter_from, stretches
from llm_one_api.stores.ledger.sums import hour_of, quarter_of

PartLevel = Level | Literal["records"]

_NOTHING = timedelta()


class Kept(NamedTuple):
    """What is there to read."""

    quarters: Quarters
    deleted_before: datetime | None
    """Records from before may be deleted; None: none was."""
    closed: Mapping[PartLevel, Mapping[datetime, datetime]]
    """The days and months whose sums are made: when they end, by when they begin, in order."""


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
    if not levels:
        yield from ((Piece(*each), sign) for each in stretches(since, until, kept.quarters))
        return
    level, shorter = levels[0], levels[1:]
    begin = at = since  # periods that follow one another are one piece
    reached = since
    for start, end in kept.closed[level].items():
        if start >= until:
            break
        if (start < at and at > since) or end <= at or not _counts(start, end, since, until, kept):
            continue
        if start > at:
            if begin < reached:
                yield Piece(level, begin, reached), sign
            yield from _by_periods(at, start, kept, shorter, sign)
        if start > at or begin == reached:
            begin = start
        if start < since:
            yield from _by_periods(start, since, kept, shorter, -sign)
        if end > until:
            yield from _by_periods(until, end, kept, shorter, -sign)
        reached, at = end, min(end, until)
    if begin < reached:
        yield Piece(level, begin, reached), sign
    if at < until:
        yield from _by_periods(at, until, kept, shorter, sign)


def _counts(start: datetime, end: datetime, since: datetime, until: datetime, kept: Kept) -> bool:
    """Tell whether a closed period helps to tell the time from *since* until *until*."""
    before, behind = max(since - start, _NOTHING), max(end - until, _NOTHING)
    if 2 * (before + behind) >= end - start:
        return False
    # What is taken away has to be exactly what is outside, so slots must begin where it begins and ends.
    edges = [*((start, since) if before else ()), *((until, end) if behind else ())]
    return all(hour_of(edge) == edge or kept.quarters.has(edge) for edge in edges)
