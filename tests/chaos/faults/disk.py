"""The journal's disk without room for an entry."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.chaos.faults.fault import GATEWAY, RECORDS, Fault

WRITTEN_WITHIN = 3.0
"""Seconds in which all processes have written what waited, once there is room: several rounds of theirs."""


class FullDisk(Fault):
    """For so short that what waits in memory is not too much; for whoever is killed then loses it, as the docs say."""

    name = "journal's disk full"
    breaks = frozenset({GATEWAY, RECORDS})
    lasts = 6.0

    def strike(self) -> None:
        self._recoveries = len(self.scene.events("journal.recovered"))
        self.scene.disk.fill()
        self._written, self._ended = -1, 0

    def has_hit(self) -> bool:
        """Calls are served, and nothing of them is written. (Limited processes cannot write their log either.)"""
        written, ended = self._bytes(), self.scene.calls.ended
        if written != self._written:  # into what was left of a page
            self._written, self._ended = written, ended
        return ended >= self._ended + 20

    def heal(self) -> None:
        self.scene.disk.free()
        self._over_at = time.monotonic() + WRITTEN_WITHIN

    def is_over(self) -> bool:
        recovered = len(self.scene.events("journal.recovered")) > self._recoveries
        return recovered and time.monotonic() >= self._over_at

    def _bytes(self) -> int:
        total = 0
        for segment in self.scene.disk.journal.glob("*.seg"):
            with suppress(FileNotFoundError):  # it was freed
                total += segment.stat().st_size
        return total
