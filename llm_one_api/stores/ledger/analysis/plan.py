"""Which table tells which part of the time: the coarsest that tells it exactly.

A slot counts where it begins. Where quarters are no longer kept, hours take their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, NamedTuple

from llm_one_api.stores.ledger.analysis.buckets import days, has_whole_hours
from llm_one_api.stores.ledger.analysis.questions import NotAnswerable, Question
from llm_one_api.stores.ledger.sums import HOUR, QUARTER, hour_of, quarter_of

Level = Literal["records", "quarter", "hour"]


class Kept(NamedTuple):
    """What is there to read."""

    quarters_since: datetime | None
    """Since when quarters are there; None: there are none."""
    deleted_before: datetime | None
    """Records from before may be deleted; None: none was."""


class Part(NamedTuple):
    """A stretch of time, and the slots that tell what was in it."""

    level: Level
    since: datetime
    until: datetime
    by_slot: bool
    """Slot by slot; else all in one, for it lies in one bucket."""


def plan(question: Question, kept: Kept) -> list[Part]:
    """Cut the time of *question* into parts. Raises NotAnswerable where no table can tell."""
    since, until = question.since.astimezone(UTC), question.until.astimezone(UTC)
    if since >= until:
        return []
    if question.bucket == "15m":
        if not _has_quarters(kept, since):
            raise NotAnswerable("quarters of an hour are no longer kept of the time asked for; ask with bucket=hour")
        return [Part("quarter", since, until, by_slot=True)]
    if question.bucket == "hour":
        if has_whole_hours(question.zone, since, until):
            return [Part("hour", since, until, by_slot=True)]
        return list(_by_quarters(since, until, kept))
    pieces = [since, until]
    if question.bucket is not None:
        pieces = [since, *(at for at in days(question.zone, since, until, question.bucket) if at > since), until]
    return [part for a, b in pairwise(pieces) for part in _tiled(a, b, kept, exact=question.exact)]


def _tiled(since: datetime, until: datetime, kept: Kept, *, exact: bool) -> Iterator[Part]:
    """Cover a stretch that lies in one bucket: whole hours, and what is left at both ends."""
    first, last = _hour_from(since), hour_of(until)
    if first > last:  # both ends lie in one hour
        yield from _ragged(since, until, kept, exact=exact)
        return
    yield from _ragged(since, first, kept, exact=exact)
    if first < last:
        yield Part("hour", first, last, by_slot=False)
    yield from _ragged(last, until, kept, exact=exact)


def _ragged(since: datetime, until: datetime, kept: Kept, *, exact: bool) -> Iterator[Part]:
    """Cover a part of an hour."""
    if since >= until:
        return
    has_quarters = _has_quarters(kept, hour_of(since))
    has_records = kept.deleted_before is None or since >= kept.deleted_before
    if not exact or not has_records:
        yield Part("quarter" if has_quarters else "hour", since, until, by_slot=False)
        return
    begin, end = _quarter_from(since), quarter_of(until)
    if begin >= end or not has_quarters:
        yield Part("records", since, until, by_slot=False)
        return
    pieces: Sequence[tuple[Level, datetime, datetime]] = (
        ("records", since, begin), ("quarter", begin, end), ("records", end, until)
    )  # fmt: skip
    yield from (Part(level, a, b, by_slot=False) for level, a, b in pieces if a < b)


def _by_quarters(since: datetime, until: datetime, kept: Kept) -> Iterator[Part]:
    """Cover it slot by slot, by quarters as far as they are kept."""
    begin = until if kept.quarters_since is None else max(since, min(until, kept.quarters_since))
    if since < begin:
        yield Part("hour", since, begin, by_slot=True)
    if begin < until:
        yield Part("quarter", begin, until, by_slot=True)


def _has_quarters(kept: Kept, at: datetime) -> bool:
    return kept.quarters_since is not None and at >= kept.quarters_since


def _hour_from(at: datetime) -> datetime:
    return at if hour_of(at) == at else hour_of(at) + HOUR


def _quarter_from(at: datetime) -> datetime:
    return at if quarter_of(at) == at else quarter_of(at) + QUARTER
