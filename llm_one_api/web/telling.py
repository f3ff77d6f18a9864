"""Tells in Redis what only this process has counted, and how this machine's journal fares: for the metrics.

No call waits for it. While Redis is away the counts go on here, and are told when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import gevent
import structlog

from llm_one_api.stores.gateways import JournalFigures, of_journal
from llm_one_api.stores.journal.segments import journal_id
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.off_hub import on_disk

log = structlog.get_logger()

EVERY = 5.0


class Store(Protocol):
    """Where it is told. Raises what Redis's client raises."""

    def tell(
        self, process: str, counts: Mapping[str, tuple[int, int]], journal: tuple[str, JournalFigures] | None = None
    ) -> None:
        """Say how far this process has counted."""

    def close(self) -> None:
        """Close the connections."""


class Telling:
    """One process's part. `start` after the fork, `stop` before the process ends."""

    def __init__(
        self,
        store: Store,
        counts: Callable[[], Mapping[str, int]],
        lookout: Lookout,
        folder: Path,
        every: float = EVERY,
    ) -> None:
        """Tell *counts*, which only go up, and what *lookout* has seen of the journal in *folder*."""
        self._store = store
        self._counts = counts
        self._lookout = lookout
        self._folder = folder
        self._every = every
        self._process = ""
        self._told: dict[str, int] = {}
        self._journal = ""
        self._away = False
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin, under a name made now."""
        if self._greenlet is None:
            self._process = uuid4().hex
            self._greenlet = gevent.spawn(self._go_on)

    def stop(self) -> None:
        """Tell a last time, and end."""
        if self._greenlet is None:
            return
        self._greenlet.kill()
        self._greenlet = None
        if not self._away:
            self._turn()
        self._store.close()

    def _go_on(self) -> None:
        while True:
            self._turn()
            gevent.sleep(self._every)

    def _turn(self) -> None:
        try:
            counts = {name: (self._told.get(name, 0), count) for name, count in self._counts().items()}
            self._store.tell(self._process, counts, self._of_journal())
        except Exception as error:  # whatever the client or the disk raises; what was counted is told next time
            if not self._away:
                log.info("telling.away", kind=type(error).__name__)
            self._away = True
        else:
            self._away = False
            self._told = {name: count for name, (_, count) in counts.items()}

    def _of_journal(self) -> tuple[str, JournalFigures] | None:
        if not self._journal:
            self._journal = on_disk(lambda: journal_id(self._folder))
        lookout = self._lookout
        size = None if lookout.waiting is None else lookout.waiting.bytes
        return self._journal, of_journal(lookout.relay, size, lookout.lost)
