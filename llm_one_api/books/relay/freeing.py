"""Lets segments go: to `acked/` when all their records are in the ledger, and from there when they are old."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import structlog

from llm_one_api.books.relay.follower import Follower, Segment, Writer
from llm_one_api.stores.journal.segments import ACKED, list_segments, prepare, remove_leftovers, sync_path

log = structlog.get_logger(__name__)

_PRUNE_SECONDS = 5.0
_SAID_EVERY = 10.0
"""Seconds between two complaints: each turn may fail, and the log's disk may be the one that is full."""
SCARCE_BYTES = 64 << 20


class Freeing:
    """Tidies a journal folder."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_hours: float = 24.0,
        keep_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep acked segments for *keep_hours*, *keep_bytes* of them at most, none if the disk is nearly full."""
        self._folder = folder
        self._acked = folder / ACKED
        self._keep_seconds = keep_hours * 3600
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._prune_at = 0.0
        self._silent_until = -math.inf
        self.acked_bytes = 0
        """How much there is in `acked/`, as of a few seconds ago."""
        self.pruned_until: float | None = None
        """When the newest of those was acked that were deleted, in seconds since 1970."""
        prepare(self._acked)

    def free(self, follower: Follower) -> list[Segment]:
        """Move away the segments that nothing holds, a writer's oldest first; gives those that are gone.

        In that order, so that after a crash of ours no OPEN is left behind whose CLOSE is gone.
        """
        gone: list[Segment] = []
        for key, writer in list(follower.writers.items()):
            try:
                self._free_writer(writer, gone)
            except OSError as error:
                self._failed(error)
            if writer.dead and not writer.segments:
                follower.forget(key)
        return gone

    def _free_writer(self, writer: Writer, gone: list[Segment]) -> None:
        free = list(takewhile(lambda segment: segment.done and not segment.holds, writer.segments))
        if not free:
            return
        if len(free) < len(writer.segments):
            # The calls carried into the next one must outlive a power cut before their earlier copies go.
            sync_path(writer.segments[len(free)].path)
            sync_path(self._folder)
        prepare(self._acked)  # somebody who made room may have removed all of it
        for segment in free:
            with suppress(FileNotFoundError):  # somebody removed it
                os.utime(segment.path)
                segment.path.rename(self._acked / segment.path.name)
            gone.append(writer.segments.pop(0))

    def prune(self) -> None:
        """Delete acked segments that are too old or too much, every few seconds."""
        now = self._clock()
        if now < self._prune_at:
            return
        self._prune_at = now + _PRUNE_SECONDS
        try:
            self._prune()
        except OSError as error:
            self._failed(error)

    def _prune(self) -> None:
        remove_leftovers(self._folder)
        self.acked_bytes = 0
        files: list[tuple[Path, os.stat_result]] = []
        with suppress(FileNotFoundError):  # somebody removed the folder
            for name in list_segments(self._acked):
                with suppress(FileNotFoundError):  # or only this one
                    files.append((path := self._acked / str(name), path.stat()))
        files.sort(key=lambda file: file[1].st_mtime, reverse=True)
        disk = os.statvfs(self._folder)
        # What is in the ledger already must not be in the way of what is not yet.
        keep = 0 if disk.f_bavail * disk.f_frsize < SCARCE_BYTES else self._keep_bytes
        size = 0
        for path, stat in files:
            size += stat.st_size
            if size > keep or time.time() - stat.st_mtime > self._keep_seconds:
                path.unlink(missing_ok=True)
                self.pruned_until = max(self.pruned_until or 0.0, stat.st_mtime)
            else:
                self.acked_bytes += stat.st_size

    def _failed(self, error: OSError) -> None:
        """Say it now and then: that there is no tidying up keeps no record from the ledger."""
        now = self._clock()
        if now >= self._silent_until:
            self._silent_until = now + _SAID_EVERY
            log.error("relay.cannot_free", error=str(error))
