"""Reads a journal folder from end to end, with what is acked, and tells which calls must have a record by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec

from llm_one_api.stores.journal.entries import Closed, Ended, Entry, Lost, Misfit, Opened
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.stores.journal.segments import ACKED, Name, is_released, list_segments
from llm_one_api.values import UsageRecord

BATCH = 500
"""Calls that are asked for at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A segment of which something is read."""

    name: Name
    acked: bool
    written: float
    """When it was last written to, or acked: seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that must have a record by what stands in the journal."""

    request_id: str
    at: datetime
    says: str
    """What stands there of it: `closed`, `left open` by a writer that is dead, or `unreadable`."""
    record: UsageRecord | Misfit
    place: Place

    @property
    def segment(self) -> Name:
        """Where it stands."""
        return self.place.name

    @property
    def acked(self) -> bool:
        """Whether the ledger is said to have it."""
        return self.place.acked

    @property
    def written(self) -> float:
        """When its segment was last written to."""
        return self.place.written

    def line(self, price: Callable[[UsageRecord], UsageRecord]) -> str:
        """Write its record as the relay does."""
        if isinstance(self.record, Misfit):
            return self.record.line
        return msgspec.json.encode(price(self.record)).decode()


class Walk:
    """One way through a folder; its figures grow on it. A segment that vanishes meanwhile was freed: it is left out."""

    def __init__(self, folder: Path, since: datetime, until: datetime) -> None:
        """Look for calls admitted from *since* until before *until* in *folder*."""
        self.folder = folder
        self._since = since
        self._until = until
        self.segments = 0
        self.calls = 0
        """How many of them there were."""
        self.lost = 0
        """Records that a writer said it had lost."""
        self.faults: list[tuple[Name, str]] = []
        """Segments that are missing between others, or cannot be read in part."""

    def batches(self) -> Iterator[list[Call]]:
        """Give the calls that must have a record."""
        batch: list[Call] = []
        for call in self._calls():
            self.calls += 1
            batch.append(call)
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _calls(self) -> Iterator[Call]:
        for _, names in groupby(self._names(), key=lambda name: name.writer):
            for call in self._of_writer(list(names)):
                if self._since <= call.at < self._until:
                    yield call

    def _names(self) -> list[Name]:
        """Name all segments; from `acked/` last, for that is the way they go."""
        waiting = list_segments(self.folder)
        acked = list_segments(self.folder / ACKED) if (self.folder / ACKED).is_dir() else []
        return sorted({*waiting, *acked})

    def _of_writer(self, names: list[Name]) -> Iterator[Call]:
        """Follow one writer: what is open when it is dead was left."""
        open_calls: dict[str, tuple[Opened | Ended, Place]] = {}
        place: Place | None = None
        for before, name in zip([None, *names], names, strict=False):
            if before is not None and name != before.next and not self._is_there(before.next):
                self.faults.append((before.next, "missing, though there are earlier and later ones"))
            found = self._find(name)
            if found is None:
                continue
            path, place = found
            self.segments += 1
            for entry in self._entries(path, name):
                if isinstance(entry, Opened):
                    open_calls[entry.request_id] = (entry, place)
                elif isinstance(entry, Ended):
                    open_calls[entry.record.request_id] = (entry, place)
                elif isinstance(entry, Closed):
                    open_calls.pop(entry.record.request_id, None)
                    record = entry.record
                    yield Call(request_id=record.request_id, at=record.at, says="closed", record=record, place=place)
                elif isinstance(entry, Misfit):
                    opened = open_calls.pop(entry.request_id, None)
                    at = opened[0].left().at if opened else datetime.fromtimestamp(place.written, UTC)
                    yield Call(request_id=entry.request_id, at=at, says="unreadable", record=entry, place=place)
                elif isinstance(entry, Lost):
                    self.lost += entry.records
        if place is not None and self._is_dead(place):
            for left, where in open_calls.values():
                record = left.left()
                yield Call(request_id=record.request_id, at=record.at, says="left open", record=record, place=where)

    def _find(self, name: Name) -> tuple[Path, Place] | None:
        """Look where a segment is now."""
        for path, acked in ((self.folder / str(name), False), (self.folder / ACKED / str(name), True)):
            try:
                return path, Place(name=name, acked=acked, written=path.stat().st_mtime)
            except FileNotFoundError:
                continue
        return None

    def _is_there(self, name: Name) -> bool:
        return self._find(name) is not None

    def _is_dead(self, newest: Place) -> bool:
        """Tell whether nobody writes behind *newest* any more."""
        if newest.acked:
            return not self._is_there(newest.name.next)
        try:
            return is_released(self.folder / str(newest.name)) and not self._is_there(newest.name.next)
        except FileNotFoundError:
            return not self._is_there(newest.name.next)

    def _entries(self, path: Path, name: Name) -> Iterator[Entry]:
        """Read a segment to its end, as far as it is there."""
        reader = SegmentReader(path)
        while True:
            try:
                found = reader.read(final=True)
            except FileNotFoundError:
                # It went to acked/ meanwhile, or from there for good.
                moved = self.folder / ACKED / str(name)
                if path == moved or not moved.exists():
                    return
                path, at = moved, reader.at
                reader = SegmentReader(path)
                reader.at = at
                continue
            for each in found:
                yield each.entry
            if reader.done:
                break
        if reader.corrupt:
            self.faults.append((name, f"{reader.corrupt} stretches cannot be read"))
