"""Cuts what was seen into batches: stretches of the journal, whose records are read again each time they are sent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from llm_one_api.books.relay.follower import Place, Segment
from llm_one_api.limits.charging import Price, with_cost
from llm_one_api.stores.journal.entries import DAMAGED, DIED, Closed, Ended, Entry, Misfit, Opened
from llm_one_api.stores.journal.reader import read_stretch
from llm_one_api.values import UsageRecord

log = structlog.get_logger(__name__)

_MOST_BYTES = 2 << 20
_SAID_EVERY = 60.0
"""Seconds between two complaints of prices that fail, which they may do for every record."""

_encode = msgspec.json.Encoder().encode


def unpriced(record: UsageRecord) -> UsageRecord:
    """Know no prices."""
    return record


class Lines:
    """Writes records as they travel in messages, with what they cost."""

    def __init__(self, price: Price = unpriced, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Have *price* put the cost on them. It may raise: that costs a record its cost, and nothing else."""
        self._price = price
        self._clock = clock
        self._silent_until = -math.inf

    def of(self, entry: Closed | Misfit) -> str:
        """Write the record of *entry*; what does not fit goes as it stands, to be set aside with the reason."""
        return entry.line if isinstance(entry, Misfit) else self(entry.record)

    def __call__(self, record: UsageRecord) -> str:
        """Write one."""
        return written(self.priced(record))

    def priced(self, record: UsageRecord) -> UsageRecord:
        """Put on it what it costs, and its quotas."""
        try:
            return with_cost(record, self._price)
        except Exception as error:  # whatever a price table has in it
            now = self._clock()
            if now >= self._silent_until:
                self._silent_until = now + _SAID_EVERY
                log.error("relay.unpriced", request_id=record.request_id, error=type(error).__name__)
            return record


def written(record: UsageRecord) -> str:
    """Write a record that has its cost."""
    return _encode(record).decode()


class Charges(Protocol):
    """Charges calls to their quotas (`settling.py`). Only takes note here."""

    def saw(self, segment: Segment, start: int, end: int, record: UsageRecord) -> None:
        """Take the priced record of a CLOSE."""

    def adopted(self, last: Segment, places: Sequence[Place], error: str) -> None:
        """Take the calls that a dead writer left."""


class Batch(Protocol):
    """Records that travel and are acked together."""

    @property
    def count(self) -> int:
        """Count its records."""

    @property
    def oldest(self) -> float:
        """Tell when the first of its calls ended, in seconds since 1970."""

    @property
    def id(self) -> str:
        """Name it by where it stands, so that every copy has the same name."""

    def lines(self) -> list[str]:
        """Read its records. Raises OSError."""

    def release(self) -> None:
        """Let go of its place in the journal: it is in the ledger."""


@dataclass(slots=True, eq=False)
class ClosedCalls:
    """The CLOSEs of a stretch of one segment."""

    segment: Segment
    start: int
    end: int
    line: Lines
    oldest: float
    count: int = 0
    charged: int = 0
    """How many of them are charged to quotas."""
    began: float = 0.0
    fresh: list[str] | None = None
    """The lines, if the batch is likely to be sent at once."""

    @property
    def id(self) -> str:
        """Such as `5f…e1.000003.seg:1024-90211`."""
        return f"{self.segment.name}:{self.start}-{self.end}"

    def lines(self) -> list[str]:
        """Hand over the fresh lines, once, or read them from the disk."""
        lines, self.fresh = self.fresh, None
        if lines is None:
            found = read_stretch(self.segment.path, self.start, self.end)
            lines = [self.line.of(entry) for _, _, entry in found if isinstance(entry, Closed | Misfit)]
        if len(lines) != self.count:
            log.error("relay.records_missing", batch=self.id, missing=self.count - len(lines))
        return lines

    def release(self) -> None:
        """Hold the segment no more."""
        self.segment.holds -= 1


@dataclass(slots=True, eq=False)
class AbortedCalls:
    """The OPENs and ENDEDs that a dead writer left without a CLOSE, or with one that cannot be read."""

    last: Segment
    first: int
    """How many of them are in batches before this one."""
    places: list[Place]
    line: Lines
    oldest: float
    error: str

    @property
    def count(self) -> int:
        """Count the calls."""
        return len(self.places)

    @property
    def id(self) -> str:
        """Such as `5f…e1.000003.seg:gateway_died-0-12`. A relay that cuts batches of another size gives other names."""
        return f"{self.last.name}:{self.error}-{self.first}-{self.first + self.count}"

    def lines(self) -> list[str]:
        """Make the records of those calls."""
        found = [one for place in self.places for one in read_stretch(place.segment.path, place.start, place.end)]
        lines = [self.line(entry.left(self.error)) for _, _, entry in found if isinstance(entry, Opened | Ended)]
        if len(lines) != len(self.places):
            log.error("relay.records_missing", batch=self.id, missing=len(self.places) - len(lines))
        return lines

    def release(self) -> None:
        """Hold the segments no more."""
        for place in self.places:
            place.segment.holds -= 1


class Cutter:
    """Takes what the follower sees and hands on batches."""

    def __init__(
        self,
        plan: Callable[[Batch], None],
        has_room: Callable[[], bool],
        line: Lines,
        charges: Charges | None = None,
        *,
        records: int = 1000,
        seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Hand batches of up to *records* lines to *plan*; *has_room* tells whether one would be sent at once.

        With room a batch waits *seconds* at most; without, it goes on growing and keeps no line in memory. What is
        charged to quotas is told to *charges* besides, at once.
        """
        self._plan = plan
        self._has_room = has_room
        self._line = line
        self._charges = charges
        self._records = records
        self._seconds = seconds
        self._clock = clock
        self._wall = wall
        self._growing: dict[Segment, ClosedCalls] = {}

    def saw(self, segment: Segment, start: int, end: int, entry: Entry) -> None:
        """Put a CLOSE into its segment's growing batch."""
        if not isinstance(entry, Closed | Misfit):
            return
        batch = self._growing.get(segment)
        if batch is None:
            fresh: list[str] | None = [] if self._has_room() else None
            batch = ClosedCalls(
                segment, start, end, self._line, oldest=self._end_of(entry), began=self._clock(), fresh=fresh
            )
            self._growing[segment] = batch
            segment.holds += 1
        batch.end = end
        batch.count += 1
        priced: UsageRecord | None = None
        if self._charges and isinstance(entry, Closed) and entry.record.quota_windows and not entry.again:
            priced = self._line.priced(entry.record)
            batch.charged += 1
            self._charges.saw(segment, start, end, priced)
        if batch.fresh is not None:
            batch.fresh.append(self._line.of(entry) if priced is None else written(priced))
        if batch.count >= self._records or end - batch.start >= _MOST_BYTES:
            self._cut(segment)

    def ended(self, segment: Segment) -> None:
        """Cut what grew of *segment*."""
        if segment in self._growing:
            self._cut(segment)

    def died(self, last: Segment, left: list[Place]) -> None:
        """Make batches of the calls that will not end any more."""
        if left:
            log.warning("relay.adopted", segment=str(last.name), calls=len(left))
        self._abort(last, left, DIED)

    def unread(self, segment: Segment, left: list[Place]) -> None:
        """Make batches of the calls whose end cannot be read any more."""
        if left:
            log.error("relay.ends_unread", segment=str(segment.name), calls=len(left))
        self._abort(segment, left, DAMAGED)

    @property
    def growing(self) -> Sequence[Batch]:
        """Give the batches that are not planned yet."""
        return list(self._growing.values())

    @property
    def oldest(self) -> float:
        """Tell when the first of those calls ended that are in no batch yet; infinity: there is none."""
        return min((batch.oldest for batch in self._growing.values()), default=math.inf)

    def cut_due(self, *, now: float, urgent: bool = False) -> None:
        """Cut what has grown long enough, if it can be sent; all of it, if *urgent*."""
        if self._growing and (urgent or self._has_room()):
            for segment, batch in list(self._growing.items()):
                if urgent or now - batch.began >= self._seconds:
                    self._cut(segment)

    def _abort(self, segment: Segment, left: list[Place], error: str) -> None:
        if self._charges:
            self._charges.adopted(segment, left, error)
        for first in range(0, len(left), self._records):
            places = left[first : first + self._records]
            self._plan(AbortedCalls(segment, first, places, self._line, oldest=self._wall(), error=error))

    def _end_of(self, entry: Closed | Misfit) -> float:
        now = self._wall()
        if isinstance(entry, Misfit):
            return now
        return max(0.0, min(now, entry.record.at.timestamp() + (entry.record.duration or 0.0)))

    def _cut(self, segment: Segment) -> None:
        self._plan(self._growing.pop(segment))
