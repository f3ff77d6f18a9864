"""How many calls came in the last minute, by whose they were."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 60
"""Whole seconds that are looked back on; the present one is not over, so it does not count yet."""


class Pulse:
    """Counts the calls of this process, second by second. `turn` is to be said several times a second."""

    __slots__ = ("_clock", "_now", "_past", "_second")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock = clock
        self._second = int(clock())
        self._now: dict[str, int] = {}
        self._past: deque[tuple[int, dict[str, int]]] = deque(maxlen=WINDOW)

    def beat(self, key: str) -> None:
        """Count a call of *key*. Said for every call, so it looks at no clock."""
        now = self._now
        now[key] = now.get(key, 0) + 1

    def turn(self) -> None:
        """Look at the clock: what was counted so far belongs to the second that was the present one."""
        second = int(self._clock())
        if second != self._second:
            if self._now:
                self._past.append((self._second, self._now))
                self._now = {}
            self._second = second

    def by_key(self) -> dict[str, int]:
        """Give the calls of the last minute by key."""
        self.turn()
        total: dict[str, int] = {}
        for second, counts in self._past:
            if second >= self._second - WINDOW:
                for key, calls in counts.items():
                    total[key] = total.get(key, 0) + calls
        return total
