"""How records get on in the journals: of this machine by its files, of others by what their gateways tell in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import redis
from prometheus_client.core import Metric

from llm_one_api.metrics.families import counter, gauge
from llm_one_api.metrics.labels import Labels
from llm_one_api.stores.gateways import Heard, JournalFigures, of_journal
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import measure

STALE_SECONDS = 15.0
"""What a relay told so long ago is no longer true: it tells every second."""
_SHOWN = 8
"""Characters of a journal's name: what its file `journal.id` begins with."""


class FromJournals:
    """Reads it."""

    def __init__(self, folder: Path, heard: Callable[[], Heard], clock: Callable[[], float] = time.time) -> None:
        """Look at the journal in *folder*, if there is one, and at what *heard* gives of others."""
        self._folder = folder
        self._heard = heard
        self._clock = clock

    def __call__(self) -> list[Metric]:
        """Give all of it. Raises what the disk raises; where Redis is away, this machine's alone."""
        try:
            journals = dict(self._heard().journals)
        except (redis.RedisError, OSError):
            journals = {}
        journals.update(self._here())
        named: Mapping[Labels, JournalFigures] = {
            (("journal", name[:_SHOWN]),): figures for name, figures in journals.items()
        }

        def each(of: Callable[[JournalFigures], float | None]) -> dict[Labels, float]:
            found = {labels: of(figures) for labels, figures in named.items()}
            return {labels: value for labels, value in found.items() if value is not None}

        return [
            gauge("relay_up", each(lambda one: int(one.relay_tells))),
            gauge("relay_lag_records", each(lambda one: one.lag_records)),
            gauge("relay_lag_seconds", each(lambda one: one.lag_seconds)),
            gauge("relay_unsettled_requests", each(lambda one: one.unsettled)),
            gauge("journal_bytes", each(lambda one: one.bytes)),
            counter("lost_records_total", each(lambda one: one.lost)),
        ]

    def _here(self) -> dict[str, JournalFigures]:
        try:
            name = (self._folder / "journal.id").read_text().strip()
        except FileNotFoundError:  # there is none on this machine, or nothing has been written to it yet
            return {}
        told = status.read(self._folder)
        fresh = told if told is not None and abs(self._clock() - told.at.timestamp()) <= STALE_SECONDS else None
        lost = None if told is None else told.figures.lost
        return {name: of_journal(fresh, measure(self._folder).bytes, lost)}
