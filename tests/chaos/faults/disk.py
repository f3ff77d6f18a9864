"""The journal's disk without room for an entry."""

from __future__ import annotations

import time

from tests.chaos.faults.fault import GATEWAY, RECORDS, Fault

WRITTEN_WITHIN = 3.0
"""Seconds in which all processes have written what waited, once there is room: several rounds of theirs."""


class FullDisk(Fault):
    """For so short that what waits in memory is not too much; for whoever is killed then loses it, as the docs say."""

    name = "journal's disk full"
    breaks = frozenset({GATEWAY, RECORDS})
    lasts = 6.0

    def strike(self) -> None:
        self._troubles = len(self.scene.events("journal.trouble"))
        self._recoveries = len(self.scene.events("journal.recovered"))
        self.scene.disk.fill()

    def has_hit(self) -> bool:
        return len(self.scene.events("journal.trouble", full=True)) > self._troubles

    def heal(self) -> None:
        self.scene.disk.free()
        self._over_at = time.monotonic() + WRITTEN_WITHIN

    def is_over(self) -> bool:
        recovered = len(self.scene.events("journal.recovered")) > self._recoveries
        return recovered and time.monotonic() >= self._over_at
