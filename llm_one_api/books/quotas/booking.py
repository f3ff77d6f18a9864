"""Tells the limit store what the ledger has: pending becomes booked. Nobody waits for a store that is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from llm_one_api.limits.charging import Booking

log = structlog.get_logger()

PAUSE = 10.0
"""Seconds without a try after one that failed, so that an away store costs ingests next to nothing."""
SAID_EVERY = 60.0
"""Seconds between two warnings of the same."""


class Store(Protocol):
    """What booking needs of the limit store."""

    def book(self, bookings: Sequence[Booking]) -> None:
        """Take note of what the ledger has by now. Bounded in time; raises if it could not."""


class Booker:
    """Books what ingest has kept, if the store is there. What is not booked goes on counting as pending.

    It is put right by the quota check: nothing depends on a booking.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Use *store*, which is for this process alone."""
        self._store = store
        self._clock = clock
        self._not_before = self._quiet_until = float("-inf")
        self._left_out = 0

    def __call__(self, bookings: Sequence[Booking]) -> None:
        """Book them; never raises."""
        if not bookings:
            return
        if self._clock() < self._not_before:
            self._left_out += len(bookings)
            return
        try:
            self._store.book(bookings)
        except Exception as error:  # whatever the store's client raises: the records are kept, and that is what counts
            self._left_out += len(bookings)
            self._not_before = self._clock() + PAUSE
            self._say(type(error).__name__)
        else:
            self._not_before = float("-inf")

    def _say(self, kind: str) -> None:
        if self._clock() >= self._quiet_until:
            log.warning("quota.booking_failed", kind=kind, calls=self._left_out)
            self._quiet_until, self._left_out = self._clock() + SAID_EVERY, 0
