"""Charges calls that have ended to their quotas, straight from what the follower sees: held becomes pending.

It waits for nobody, and nobody for it: not for the sending, so that no quota refills while workers or the ledger are
away; and while the limit store is away, records are sent, acked and freed as ever. A call whose segment is freed before
it is settled needs no settling: it is in the ledger, and ingest or the quota check books what was never pending.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from llm_one_api.books.relay.batches import AbortedCalls, Batch, ClosedCalls
from llm_one_api.books.relay.follower import Place, Segment
from llm_one_api.books.relay.window import Link
from llm_one_api.limits.charging import Charge, charge_of
from llm_one_api.stores.journal.entries import Closed, Ended, Opened
from llm_one_api.stores.journal.reader import read_stretch
from llm_one_api.values import UsageRecord

log = structlog.get_logger(__name__)

_AT_ONCE = 100
"""Charges in one call of the store: each takes the server some 30 µs, and whoever admits a call waits meanwhile."""
_MOST_BYTES = 2 << 20
MOST_KEPT = 20_000
_LONGEST_TURN = 0.1
"""Seconds."""
_LOOK_SECONDS = 1.0
"""How often to ask for the epoch, while nothing is settled and something is not acked."""
_HINT_SECONDS = 5.0
_NOWHERE = ""
"""The segment of a call of the store that is about none."""


class Store(Protocol):
    """What settling needs of the limit store."""

    def settle(
        self,
        segment: str,
        charges: Sequence[tuple[int, Charge]],
        *,
        adopted: bool = False,
        freed: Sequence[str] = (),
    ) -> str | None:
        """Charge calls, each once; gives the epoch of the counters, None: they are not whole. Bounded in time."""


@dataclass(slots=True)
class Stretch:
    """Calls that ended in a stretch of one segment."""

    start: int
    end: int
    count: int = 0
    charges: list[tuple[int, Charge]] | None = None
    """None: they are to be read."""


@dataclass(slots=True)
class Left:
    """Calls that a dead writer left."""

    name: str
    places: Sequence[Place]
    error: str


class Settling:
    """Keeps what is to be settled, in each segment's order, and settles it a piece each turn."""

    def __init__(
        self,
        store: Store,
        priced: Callable[[UsageRecord], UsageRecord],
        unacked: Callable[[], Sequence[Batch]],
        *,
        hint: Callable[[], None] = lambda: None,
        most_kept: int = MOST_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Charge *priced* records to *store*; *hint* at the quota check where the counters may not be whole.

        *unacked* gives all batches that may not be in the ledger: they are settled anew when the counters were lost.
        *most_kept* charges wait in memory; those beyond wait as places in the journal.
        """
        self._store = store
        self._priced = priced
        self._unacked = unacked
        self._hint = hint
        self._most_kept = most_kept
        self._clock = clock
        self._waiting: dict[Segment, deque[Stretch]] = {}
        self._left: deque[Left] = deque()
        self._kept = 0
        self._marked: set[str] = set()
        self._unmark: list[str] = []
        """Segments whose marks are to be dropped."""
        self._heard = False
        self._epoch: str | None = None
        self._look_at = self._hint_at = 0.0
        self.link = Link("limits")

    @property
    def unsettled(self) -> int:
        """Count the calls that wait to be settled."""
        waiting = sum(stretch.count for stretches in self._waiting.values() for stretch in stretches)
        return waiting + sum(len(left.places) for left in self._left)

    def saw(self, segment: Segment, start: int, end: int, record: UsageRecord) -> None:
        """Take the priced record of a call whose CLOSE stands there."""
        charge = charge_of(record)
        if charge is None:
            return
        stretches = self._waiting.setdefault(segment, deque())
        last = stretches[-1] if stretches else None
        if last is None or last.count >= _AT_ONCE or end - last.start > _MOST_BYTES:
            last = Stretch(start, end, charges=[] if self._kept < self._most_kept else None)
            stretches.append(last)
        last.end = end
        last.count += 1
        if last.charges is not None:
            last.charges.append((end, charge))
            self._kept += 1

    def adopted(self, last: Segment, places: Sequence[Place], error: str) -> None:
        """Take the calls that a dead writer left."""
        for first in range(0, len(places), _AT_ONCE):
            self._left.append(Left(str(last.name), places[first : first + _AT_ONCE], error))

    def freed(self, segment: Segment) -> None:
        """Take note that all records of *segment* are in the ledger, and that it is read no more."""
        for stretch in self._waiting.pop(segment, ()):
            self._kept -= len(stretch.charges or ())
        name = str(segment.name)
        if name in self._marked:
            self._marked.discard(name)
            self._unmark.append(name)

    def turn(self) -> bool:
        """Settle what is there, for a moment; True: there is more. Where the store is away, it is for a later turn."""
        now = self._clock()
        if self.link.away and now < self.link.ask_at:
            return False
        must_look = self._heard and now >= self._look_at and self._unacked()
        if not (self._waiting or self._left or self._unmark or must_look or self.link.away):
            return False
        try:
            more = self._settle(now + _LONGEST_TURN)
        except Exception as error:
            self.link.failed(error, self._clock())
            return False
        if self.link.worked():  # ingest has not booked meanwhile; or the store began anew, with counters of the past
            self._ask_for_a_check(self._clock())
        return more

    def _settle(self, deadline: float) -> bool:
        if self._unmark or not (self._waiting or self._left):
            epoch = self._store.settle(_NOWHERE, (), freed=tuple(self._unmark))
            self._unmark.clear()
            if self._hear(epoch):
                return True
        while self._waiting or self._left:
            if self._clock() >= deadline:
                return True
            if self._settle_left() if self._left else self._settle_stretch():
                return True
        return False

    def _settle_left(self) -> bool:
        left = self._left[0]
        charges = [pair for place in left.places for pair in self._read_left(place, left.error)]
        epoch = self._store.settle(left.name, charges, adopted=True) if charges else None
        self._left.popleft()
        return bool(charges) and self._hear(epoch)

    def _settle_stretch(self) -> bool:
        segment, stretches = next(iter(self._waiting.items()))
        stretch, name = stretches[0], str(segment.name)
        charges = stretch.charges if stretch.charges is not None else list(self._read(segment, stretch))
        epoch = self._store.settle(name, charges) if charges else None
        self._marked.add(name)
        self._kept -= len(stretch.charges or ())
        stretches.popleft()
        del self._waiting[segment]
        if stretches:  # one after the other: none waits for ever behind one that is written fast
            self._waiting[segment] = stretches
        return bool(charges) and self._hear(epoch)

    def _read(self, segment: Segment, stretch: Stretch) -> Iterator[tuple[int, Charge]]:
        try:
            found = read_stretch(segment.path, stretch.start, stretch.end)
        except OSError:  # what cannot be read cannot be sent either, which is complained of there
            return
        for _, end, entry in found:
            if isinstance(entry, Closed) and entry.record.quota_windows and not entry.again:
                charge = charge_of(self._priced(entry.record))
                if charge is not None:
                    yield end, charge

    def _read_left(self, place: Place, error: str) -> Iterator[tuple[int, Charge]]:
        try:
            found = read_stretch(place.segment.path, place.start, place.end)
        except OSError:
            return
        for _, end, entry in found:
            if isinstance(entry, Opened | Ended):
                charge = charge_of(self._priced(entry.left(error)))
                if charge is not None:
                    yield end, charge

    def _hear(self, epoch: str | None) -> bool:
        """Take note of how the counters are; True: all that is not acked is to be settled anew."""
        now = self._clock()
        self._look_at = now + _LOOK_SECONDS
        if epoch is None:
            self._ask_for_a_check(now)
        is_other = self._heard and epoch != self._epoch
        self._heard, self._epoch = True, epoch
        if is_other:
            self._begin_anew()
        return is_other

    def _ask_for_a_check(self, now: float) -> None:
        if now < self._hint_at:
            return
        self._hint_at = now + _HINT_SECONDS
        try:
            self._hint()
        except Exception as error:  # beat looks every minute besides
            log.info("relay.no_hint", error=type(error).__name__)

    def _begin_anew(self) -> None:
        """Wait to settle all that the ledger may not have: the counters do not know of it, or will not.

        What is pending all the same is passed over by the store. But not by its marks: some stand behind calls that it
        forgot, as they were set before we heard of that. So they are dropped first, of these segments alone, for of
        others nothing is left to be settled.
        """
        self._waiting.clear()
        self._left.clear()
        self._kept = 0
        stretches: dict[Segment, list[Stretch]] = {}
        for batch in self._unacked():
            if isinstance(batch, ClosedCalls) and batch.charged:
                stretch = Stretch(batch.start, batch.end, count=batch.charged)
                stretches.setdefault(batch.segment, []).append(stretch)
            elif isinstance(batch, AbortedCalls):
                self.adopted(batch.last, batch.places, batch.error)
        for segment, found in stretches.items():
            self._waiting[segment] = deque(sorted(found, key=lambda stretch: stretch.start))
            self._unmark.append(str(segment.name))
        log.info("relay.settles_anew", calls=self.unsettled, whole=self._epoch is not None)
