"""The wall clock of all the product's processes, and of its Valkey, jumps by minutes, and back."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import requests

from tests.chaos.faults.fault import CLOCK, Fault

MINUTES = 11


class ClockForward(Fault):
    name = "clock jumps forward, and back"
    breaks = frozenset({CLOCK})
    lasts = 8.0
    by = MINUTES * 60.0

    def can_be_made(self) -> bool:
        return self.scene.clock.works

    def strike(self) -> None:
        self.scene.clock.set(self.by)

    def has_hit(self) -> bool:
        """The gateway tells that time."""
        return abs(self._told() - time.time() - self.by) < 30

    def heal(self) -> None:
        self.scene.clock.set(0.0)

    def is_over(self) -> bool:
        return abs(self._told() - time.time()) < 30

    def _told(self) -> float:
        try:
            answer = requests.get(f"{self.scene.product.url}/health/live", timeout=5)
        except requests.RequestException:
            return 0.0
        return parsedate_to_datetime(answer.headers["date"]).timestamp()


class ClockBack(ClockForward):
    name = "clock jumps back, and forward"
    by = -ClockForward.by
