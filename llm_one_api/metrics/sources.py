"""Reads sources beside the scrapes: one reading at a time each, and no scrape waits for one that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from prometheus_client.core import Metric

log = structlog.get_logger()

Read = Callable[[], Sequence[Metric]]
"""Read a source, for as long as that takes. May raise anything."""

FRESH_SECONDS = 2.0
"""What was read so short a time ago does for the next scrape too: several Prometheus scrape at about the same time."""
KEPT_SECONDS = 60.0
"""For how long what was read does, where the next reading takes longer than a scrape waits."""


class Reading(NamedTuple):
    """What came of one."""

    at: float
    """When it was over."""
    took: float
    metrics: Sequence[Metric] | None
    """None: it failed."""
    by: Read
    """By what it was read."""


class Source:
    """One source, and the thread that reads it."""

    def __init__(self, name: str, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        """Read by *read*, when somebody asks."""
        self.name = name
        self.read = read
        """May be replaced; what was read by another one does no longer."""
        self._clock = clock
        self._changed = threading.Condition()
        self._wanted = False
        self._last: Reading | None = None
        self._away = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have it read, unless that was just done or is being done."""
        with self._changed:
            if self._wanted or self._is_fresh():
                return
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, name=f"reads {self.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def told(self, until: float) -> Reading | None:
        """Wait for what was asked for, until *until* by the clock; None: there is nothing that is still true."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted, max(0.0, until - self._clock()))
            last = self._last
            return None if last is None or self._clock() - last.at > KEPT_SECONDS else last

    def _is_fresh(self) -> bool:
        last = self._last
        if last is None or last.metrics is None or last.by is not self.read:
            return False
        return self._clock() - last.at <= FRESH_SECONDS

    def _go_on(self) -> None:
        while True:
            with self._changed:
                while not self._wanted:
                    self._changed.wait()
            began, read = self._clock(), self.read
            metrics = self._tried(read)
            with self._changed:
                now = self._clock()
                self._last, self._wanted = Reading(now, now - began, metrics, read), False
                self._changed.notify_all()

    def _tried(self, read: Read) -> Sequence[Metric] | None:
        try:
            metrics = read()
        except Exception as error:  # whatever the database's driver, Redis's client or the disk raises
            if not self._away:
                log.warning("metrics.away", source=self.name, kind=type(error).__name__)
            self._away = True
            return None
        if self._away:
            log.info("metrics.back", source=self.name)
        self._away = False
        return metrics
