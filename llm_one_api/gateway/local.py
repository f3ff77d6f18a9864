"""The limits that one process keeps by itself while the limit store is away: rates and calls at a time, no quotas.

Each process keeps its share of them, so that all together let no more pass than the whole.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MINUTE = 60
_MOST = 50_000
"""Scopes that are kept; beyond it the minute begins anew."""


class Minute:
    """What was used in the last 60 seconds, second by second, as the store counts it."""

    __slots__ = ("_seconds", "_total")

    def __init__(self) -> None:
        """Nothing yet."""
        self._seconds: deque[tuple[int, int]] = deque()
        self._total = 0

    def used(self, now: float) -> int:
        """Tell how much."""
        old = int(now) - MINUTE
        while self._seconds and self._seconds[0][0] < old:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def add(self, now: float, amount: int) -> None:
        """Use some more."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            amount_before = self._seconds.pop()[1]
            self._seconds.append((second, amount_before + amount))
        else:
            self._seconds.append((second, amount))
        self._total += amount

    def retry_in(self, now: float, room: int, amount: int) -> float:
        """Tell in how many seconds *amount* fits, where *room* is the limit."""
        free = room - self.used(now)
        for second, used in self._seconds:
            free += used
            if free >= amount:
                return max(0.0, second + MINUTE + 1 - now)
        return float(MINUTE)


class Local:
    """Keeps the rates and the calls at a time of this process."""

    def __init__(self, processes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep one of *processes* shares, rounded up."""
        self._processes = processes
        self._clock = clock
        self._minutes: dict[tuple[str, str], Minute] = {}
        self._at_a_time: dict[str, int] = {}
        self.without = 0
        """Calls that were admitted while the limit store was away, or had lost its counters."""

    def share(self, limit: int) -> int:
        """Tell how much of *limit* is this process's."""
        return -(-limit // self._processes)

    def retry_in(self, scope: str, kind: str, limit: int, amount: int) -> float | None:
        """Tell in how many seconds *amount* may be used; None: now.

        What is more than this process's share, and not more than the limit, may be used in a minute of its own.
        """
        now, room = self._clock(), self.share(limit)
        amount = min(amount, room)
        minute = self._minute(scope, kind)
        return None if minute.used(now) + amount <= room else minute.retry_in(now, room, amount)

    def use(self, scope: str, kind: str, amount: int) -> None:
        """Use it."""
        self._minute(scope, kind).add(self._clock(), amount)

    def is_full(self, scope: str, limit: int) -> bool:
        """Whether as many calls are under way as may be."""
        return self._at_a_time.get(scope, 0) >= self.share(limit)

    def enter(self, scope: str) -> None:
        """Begin a call."""
        self._at_a_time[scope] = self._at_a_time.get(scope, 0) + 1

    def leave(self, scope: str) -> None:
        """End one."""
        left = self._at_a_time.get(scope, 0) - 1
        if left > 0:
            self._at_a_time[scope] = left
        else:
            self._at_a_time.pop(scope, None)

    def _minute(self, scope: str, kind: str) -> Minute:
        found = self._minutes.get((scope, kind))
        if found is None:
            if len(self._minutes) >= _MOST:
                self._minutes.clear()
            found = self._minutes[scope, kind] = Minute()
        return found
