"""What one upstream has done of late: how many calls it had, how many it failed, and how long its answers took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from llm_one_api.stores.buckets import bucket_of
from llm_one_api.values import Value

SLOTS = 15
SLOT_SECONDS = 60
WINDOW = SLOTS * SLOT_SECONDS
"""Seconds that are looked back on."""
_MILLION = 1e6


class Sums(Value, frozen=True, kw_only=True):
    """All of the window added up."""

    requests: int
    """Attempts that have ended. A call that was tried at two upstreams counts at both."""
    failures: int
    ttft: dict[int, int]
    """Calls by the bucket (`stores/buckets.py`) of the time to their first byte."""
    duration: dict[int, int]
    """Calls by the bucket of the time to their end."""


NOTHING = Sums(requests=0, failures=0, ttft={}, duration={})


class _Slot:
    """A minute's."""

    __slots__ = ("duration", "failures", "requests", "ttft")

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.ttft: dict[int, int] = {}
        self.duration: dict[int, int] = {}


class Figures:
    """Those of one upstream in this process, over the last `WINDOW` seconds, minute by minute."""

    __slots__ = ("_clock", "_minute", "_now", "_past", "_slots")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._slots: dict[int, _Slot] = {}
        self._minute = -1
        self._now = _Slot()
        self._past: tuple[int, Sums] | None = None
        """What lies in the window before a minute, and that minute."""

    def add(self, *, failed: bool, ttft: float | None, duration: float | None) -> None:
        """Count an attempt that has ended. Times are in seconds; None: it had no answer, or none to its end."""
        minute = int(self._clock() // SLOT_SECONDS)
        if minute != self._minute:
            self._turn_to(minute)
        slot = self._now
        slot.requests += 1
        if failed:
            slot.failures += 1
        if ttft is not None:
            bucket = bucket_of(int(ttft * _MILLION))
            slot.ttft[bucket] = slot.ttft.get(bucket, 0) + 1
        if duration is not None:
            bucket = bucket_of(int(duration * _MILLION))
            slot.duration[bucket] = slot.duration.get(bucket, 0) + 1

    def fail(self) -> None:
        """Count one as failed that was counted already."""
        minute = int(self._clock() // SLOT_SECONDS)
        if minute != self._minute:
            self._turn_to(minute)
        self._now.failures += 1

    def told(self) -> Sums:
        """Add up what lies in the window."""
        minute = int(self._clock() // SLOT_SECONDS)
        past = self._past
        if past is None or past[0] != minute:
            self._forget(minute)
            before = [slot for of, slot in self._slots.items() if of != minute]
            past = self._past = (minute, _summed(before))
        now = self._slots.get(minute)
        return past[1] if now is None else _summed([past[1], now])

    def _turn_to(self, minute: int) -> None:
        self._forget(minute)
        self._minute, self._past = minute, None
        self._now = self._slots.setdefault(minute, _Slot())

    def _forget(self, minute: int) -> None:
        """Let go what lies too far back, and what a clock that was put back has left in the future."""
        for other in [other for other in self._slots if not minute - SLOTS < other <= minute]:
            del self._slots[other]
            if other == self._minute:
                self._minute = -1


def _summed(parts: Sequence[_Slot | Sums]) -> Sums:
    return Sums(
        requests=sum(part.requests for part in parts),
        failures=sum(part.failures for part in parts),
        ttft=added([part.ttft for part in parts]),
        duration=added([part.duration for part in parts]),
    )


def added(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add histograms up, bucket by bucket."""
    total: dict[int, int] = {}
    for one in histograms:
        if not total:
            total.update(one)
            continue
        for bucket, calls in one.items():
            total[bucket] = total.get(bucket, 0) + calls
    return total
