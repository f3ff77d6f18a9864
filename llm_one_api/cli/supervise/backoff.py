"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits longer after each failure; a life of *forgiven_after* seconds begins anew. Times are in seconds."""

    first: float = 0.5
    most: float = 30.0
    forgiven_after: float = 30.0
    _next: float = 0.0

    def after(self, lived: float) -> float:
        """Tell how long to wait, after a life of *lived* seconds."""
        if self._next == 0.0 or lived >= self.forgiven_after:
            self._next = self.first
        wait = self._next
        self._next = min(self._next * 2, self.most)
        return wait
