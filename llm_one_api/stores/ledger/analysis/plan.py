"""Which table tells which part of the time: the coarsest that tells it exactly, in as few reads as may be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from llm_one_api.stores.ledger.analysis.covering import Kept, PartLevel, Piece, covering, runs
from llm_one_api.stores.ledger.analysis.questions import NotAnswerable, Question
from llm_one_api.stores.ledger.slots import CALENDRIC, has_whole_hours, hour_from, periods, quarter_from
from llm_one_api.stores.ledger.sums import HOUR, QUARTER, hour_of

_FEW, _FEW_BY_CALLER = 12, 40
"""Stretches that are read one by one. To read slot by slot what many consist of takes fewer statements, but slots of
many callers have many rows."""
_MOST_SLOTS = 5000
"""That a statement names one by one."""
_LENGTHS: Mapping[PartLevel, timedelta] = {"hour": HOUR, "quarter": QUARTER}

Begin = datetime | None
"""Of a bucket, in UTC; None: all of the time is in one."""
Place = tuple[Begin, int]
"""Where sums count: in which bucket, and whether they are added (1) or taken away (-1)."""


class Part(NamedTuple):
    """A stretch of time, and the slots that tell what was in it."""

    level: PartLevel
    since: datetime
    until: datetime
    by_slot: bool = False
    """Slot by slot; else all in one."""
    only: tuple[datetime, ...] | None = None
    """Not all slots in between but these."""
    days: tuple[datetime, ...] = ()
    """The closed days by whose rows the hours in between are told, where those are not read one by one."""
    places: Mapping[datetime | None, Sequence[Place]] | None = None
    """Where each slot counts, and where it is all in one that (by None); None: in the bucket that it lies in."""


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
    places: dict[Piece, list[Place]] = {}
    for bucket, a, b in _buckets(question, since, until):
        for piece, sign in covering(a, b, kept, exact=question.exact):
            places.setdefault(piece, []).append((bucket, sign))
    few = _FEW_BY_CALLER if {"user", "key"} & {*question.group_by} else _FEW
    return list(_read_together(places, kept, few))


def _buckets(question: Question, since: datetime, until: datetime) -> Iterator[tuple[Begin, datetime, datetime]]:
    """Give when each bucket begins, and the time of it that is asked for."""
    if question.bucket in CALENDRIC:
        for begin, end in periods(question.zone, question.bucket, since, until):
            yield begin, max(begin, since), min(end, until)
    else:
        yield None, since, until


def _by_hours(since: datetime, until: datetime, question: Question, kept: Kept) -> Iterator[Part]:
    """Cover it slot by slot: by hours, or by quarters, as far as they are kept, where local hours begin between."""
    begin = until
    if not has_whole_hours(question.zone, since, until):
        begin = since if kept.quarters.since is None else min(max(since, kept.quarters.since), until)
    if since < begin:
        yield Part("hour", since, begin, by_slot=True)
    if begin < until:
        yield Part("quarter", begin, until, by_slot=True)


def _read_together(places: Mapping[Piece, Sequence[Place]], kept: Kept, few: int) -> Iterator[Part]:
    """Read single slots of a level in one go, and longer pieces each in one, unless there are more than *few*."""
    levels: dict[PartLevel, list[Piece]] = {}
    for piece in places:
        levels.setdefault(piece.level, []).append(piece)
    for level, pieces in levels.items():
        single = [piece for piece in pieces if _is_slot(piece, kept)]
        longer = [piece for piece in pieces if not _is_slot(piece, kept)]
        if level != "records" and len(longer) > few:
            single, longer = pieces, []
        yield from (Part(*piece, places={None: places[piece]}) for piece in longer)
        slots: dict[datetime, tuple[datetime, Sequence[Place]]] = {}
        for piece in single:
            for slot, end in _slots(piece, kept):
                _, before = slots.get(slot, (end, ()))  # pieces of two buckets may overlap
                slots[slot] = (end, (*before, *places[piece]))
        yield from _slot_by_slot(level, dict(sorted(slots.items())))


def _slot_by_slot(level: PartLevel, slots: Mapping[datetime, tuple[datetime, Sequence[Place]]]) -> Iterator[Part]:
    """Read slots, in order, of which *slots* says when they end and where they count."""
    begins, ends = [*slots], [end for end, _ in slots.values()]
    if not begins:
        return
    places: Mapping[datetime | None, Sequence[Place]] = {slot: placed for slot, (_, placed) in slots.items()}
    if begins[1:] == ends[:-1]:
        yield Part(level, begins[0], ends[-1], by_slot=True, places=places)
        return
    for start in range(0, len(begins), _MOST_SLOTS):
        some = tuple(begins[start : start + _MOST_SLOTS])
        yield Part(level, some[0], slots[some[-1]][0], by_slot=True, only=some, places=places)


def _is_slot(piece: Piece, kept: Kept) -> bool:
    """Tell whether it is one slot at most."""
    level, since, until = piece
    if level in kept.closed:
        return kept.closed[level].ends.get(since) == until
    return level in _LENGTHS and until - since <= _LENGTHS[level]


def _slots(piece: Piece, kept: Kept) -> Iterator[tuple[datetime, datetime]]:
    """Give when the slots of a piece begin and end."""
    level, at, until = piece
    if level in _LENGTHS:
        at = hour_from(at) if level == "hour" else quarter_from(at)
    while at < until:
        end = kept.closed[level].ends[at] if level in kept.closed else at + _LENGTHS[level]
        yield at, end
        at = end


def times_of(parts: Iterable[Part], kept: Kept) -> Iterator[Part]:
    """Tell the same time for how long calls took: hours of closed days stand in the rows of these, packed."""
    for part in parts:
        if part.level != "hour":
            yield part
            continue
        at = part.since
        for days in runs(kept.closed["day"].touching(part.since, part.until)):
            since, until = max(at, hour_from(days[0][0])), min(part.until, hour_of(days[-1][1]))
            if since >= until:
                continue
            yield from _cut(part, at, since)
            yield from _cut(part, since, until, tuple(begin for begin, _ in days))
            at = until
        yield from _cut(part, at, part.until)


def _cut(part: Part, since: datetime, until: datetime, days: tuple[datetime, ...] = ()) -> Iterator[Part]:
    """Give what of *part* is from *since* until before *until*, if there is something."""
    only = part.only and part.only[bisect_left(part.only, since) : bisect_left(part.only, until)]
    if since < until and only != ():
        yield part._replace(since=since, until=until, only=only, days=days)
