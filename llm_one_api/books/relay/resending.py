"""Puts what is in the ledger into the journal once more: for a ledger that was lost, or restored from yesterday.

What is read is what was acked; what is written is an ordinary segment of a writer of our own, which the relay takes as
any other. So it can be done with a relay or without one, and twice: the ledger passes over what it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol

from llm_one_api.books.relay.freeing import SCARCE_BYTES
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.entries import Closed, Ended, Entry, Misfit, Opened
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.stores.journal.segments import ACKED, Name, is_released, list_segments, measure
from llm_one_api.values import UsageRecord, Value

_SYNC_EVERY = 5000


class NoRoom(Exception):
    """The disk, or the journal's bound, does not take it. The text says so to an operator."""


class Journal(Protocol):
    """What is needed of the journal's writer."""

    @property
    def full(self) -> bool:
        """Whether the last entry could not be written."""

    def close(self, record: UsageRecord, *, again: bool = False) -> None:
        """Append a CLOSE; *again*: of a call that was acked."""

    def sync(self) -> None:
        """Bring it to the disk."""


class Kept(Value, frozen=True, kw_only=True):
    """The segments to read: what was acked since some time, and what is not freed yet, of which some may be acked."""

    names: tuple[Name, ...]
    """Each writer's in their order."""
    bytes: int
    oldest: datetime | None
    """When the oldest one that is kept was acked, since that time or before; None: none is."""
    incomplete: bool | None
    """Whether some have been deleted that were acked since then; None: nobody knows."""


class Resent(Value, frozen=True, kw_only=True):
    """What was put into the journal again."""

    records: int
    aborted: int
    """Those among them that are made from a beginning without an end, as the relay had made them."""
    first: datetime | None
    last: datetime | None
    """The times of the first and the last call."""
    unreadable: int
    """Places that could not be read, and records that do not fit."""
    vanished: int
    """Segments that were deleted meanwhile."""


def kept(folder: Path, since: datetime) -> Kept:
    """Find what was acked since *since*. Raises OSError."""
    oldest: float | None = None
    chosen: dict[Name, int] = {}
    acked = folder / ACKED
    waiting = list_segments(folder)  # before what is acked: so one that a relay moves meanwhile is in one of both
    for name in list_segments(acked) if acked.exists() else []:
        try:
            found = (acked / str(name)).stat()
        except FileNotFoundError:
            continue
        oldest = min(oldest or found.st_mtime, found.st_mtime)
        if found.st_mtime >= since.timestamp():
            chosen[name] = found.st_size
    # What is acked of these, the ledger may have lost as well.
    for name in waiting:
        chosen[name] = _size(folder, name)
    told = status.read(folder)
    incomplete: bool | None = False
    if told is None:
        incomplete = None
    elif told.pruned_until is not None:
        incomplete = told.pruned_until >= since
    return Kept(
        names=tuple(sorted(chosen)),
        bytes=sum(chosen.values()),
        oldest=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
        incomplete=incomplete,
    )


def check_room(folder: Path, what: Kept, max_bytes: int | None) -> None:
    """Raise NoRoom if the journal or its disk would be full by it."""
    waiting, disk = measure(folder).bytes, os.statvfs(folder)
    if max_bytes is not None and waiting + what.bytes > max_bytes:
        raise NoRoom(
            f"up to {_mega(what.bytes)} would be added to {_mega(waiting)} that wait, and journal.max_bytes allows "
            f"{_mega(max_bytes)}: raise it for a while, or take a later --since"
        )
    free = disk.f_bavail * disk.f_frsize
    if free < what.bytes + SCARCE_BYTES:
        raise NoRoom(
            f"up to {_mega(what.bytes + SCARCE_BYTES)} of room are needed on the disk of {folder}, and {_mega(free)} "
            "are free"
        )


class Resending:
    """Does it."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        """Read what is in *folder*, write it by *journal*, whose folder is the same."""
        self._folder = folder
        self._journal = journal
        self._seen: set[str] = set()
        self._aborted = self._unreadable = self._vanished = 0
        self._first: datetime | None = None
        self._last: datetime | None = None

    def resend(self, what: Kept) -> Resent:
        """Put the records of *what* into the journal. Raises NoRoom if the disk refuses one."""
        for _, names in groupby(what.names, key=lambda name: name.writer):
            self._resend_writer(list(names))
        self._journal.sync()
        return Resent(
            records=len(self._seen),
            aborted=self._aborted,
            first=self._first,
            last=self._last,
            unreadable=self._unreadable,
            vanished=self._vanished,
        )

    def _resend_writer(self, names: list[Name]) -> None:
        left: dict[str, Opened | Ended] = {}
        last = names[0].previous
        is_gone = False
        for name in names:
            if name != last.next:
                left.clear()  # what has ended meanwhile is not known; what has not is copied to the start of this one
            last, vanished = name, self._vanished
            if name == names[-1]:
                is_gone = self._is_gone(name)  # asked before it is read: its writer may go on, and die, while it is
            for entry in self._entries(name):
                if isinstance(entry, Closed):
                    left.pop(entry.record.request_id, None)
                    self._put(entry.record)
                elif isinstance(entry, Opened):
                    left[entry.request_id] = entry
                elif isinstance(entry, Ended):
                    left[entry.record.request_id] = entry
                elif isinstance(entry, Misfit):
                    left.pop(entry.request_id, None)
                    self._unreadable += 1
            if self._vanished > vanished:
                left.clear()
        if is_gone:
            for one in left.values():
                self._aborted += self._put(one.left())

    def _entries(self, name: Name) -> Iterator[Entry]:
        """Read a segment to its present end, also if the relay moves it meanwhile."""
        reader = SegmentReader(self._folder / str(name))
        while not reader.done:
            try:
                found = reader.read(final=True)
            except FileNotFoundError:
                moved = SegmentReader(self._folder / ACKED / str(name))
                moved.at, moved.corrupt = reader.at, reader.corrupt
                reader = moved
                try:
                    found = reader.read(final=True)
                except FileNotFoundError:
                    self._vanished += 1
                    break
            yield from (item.entry for item in found)
        self._unreadable += reader.corrupt

    def _is_gone(self, last: Name) -> bool:
        """Tell whether a writer is dead and *last* its last one, so that what it left open does not end elsewhere."""
        with suppress(FileNotFoundError):  # it is acked, so nobody writes to it any more
            if not is_released(self._folder / str(last)):
                return False
        return not any((folder / str(last.next)).exists() for folder in (self._folder, self._folder / ACKED))

    def _put(self, record: UsageRecord) -> bool:
        if record.request_id in self._seen:
            return False
        self._journal.close(record, again=True)
        if self._journal.full:
            raise NoRoom(
                f"the disk of {self._folder} is full: {len(self._seen):,} records are in the journal again, the others "
                "are not. Make room and do it again; what is there twice counts once"
            )
        self._seen.add(record.request_id)
        self._first = min(self._first or record.at, record.at)
        self._last = max(self._last or record.at, record.at)
        if len(self._seen) % _SYNC_EVERY == 0:
            self._journal.sync()
        return True


def _size(folder: Path, name: Name) -> int:
    """Measure a segment, wherever it is by now; nothing, if it is gone."""
    for path in (folder / str(name), folder / ACKED / str(name)):
        with suppress(FileNotFoundError):
            return path.stat().st_size
    return 0


def _mega(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
