"""Sees every entry of the journal once, in each writer's order, as it is written; knows which writers have died.

It never waits for the sending: the relay's window may be full for hours while what happened is still seen at once.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from llm_one_api.stores.journal.entries import Closed, Ended, Entry, Lost, Misfit, Opened
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.stores.journal.segments import Name, is_released, list_segments
from llm_one_api.stores.journal.status import Figures

log = structlog.get_logger(__name__)

_PROBE_SECONDS = 0.2
_LISTING_SETTLES = 1.0
_TROUBLE_SECONDS = 5.0
_LOSSES_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Segment:
    """A segment on its way from being written to being freed."""

    name: Name
    path: Path
    reader: SegmentReader
    done: bool = False
    """Read to its end; nothing will ever be added."""
    holds: int = 0
    """Reasons to keep it: calls whose OPEN stands here and that have not ended, batches that are not acked."""
    copies: int = 0
    """Calls carried into it, as far as they could be read."""
    lost: int = 0
    misfit: int = 0
    adopted: int = 0

    @property
    def figures(self) -> Figures:
        """Tell what was met in it."""
        reader = self.reader
        return Figures(
            lost=self.lost, corrupt=reader.corrupt, torn=reader.torn, misfit=self.misfit, adopted=self.adopted
        )


class Place(NamedTuple):
    """Where an OPEN or an ENDED stands."""

    segment: Segment
    start: int
    end: int


class Sink(Protocol):
    """What is told of everything, in order."""

    def saw(self, segment: Segment, start: int, end: int, entry: Entry) -> None:
        """Take note of an entry."""

    def ended(self, segment: Segment) -> None:
        """Take note that nothing more comes from *segment*."""

    def died(self, last: Segment, left: list[Place]) -> None:
        """Take note that a writer is gone with its calls *left* open; *last* is its last segment."""

    def unread(self, segment: Segment, left: list[Place]) -> None:
        """Take note that the ends of some calls cannot be read any more: they would be carried into *segment* else."""


@dataclass(slots=True)
class Writer:
    """What is known of one gateway process by its segments."""

    segments: list[Segment] = field(default_factory=list)
    """In order; freed ones are gone from here."""
    open: dict[str, Place] = field(default_factory=dict)
    probe_at: float = 0.0
    trouble_until: float = 0.0
    trouble_since: float = math.inf
    dead: bool = False


class Follower:
    """Follows all segments of a folder."""

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        *,
        clock: Callable[[], float] = time.monotonic,
        listing: Callable[[Path], list[Name]] = list_segments,
    ) -> None:
        """Tell *sink* what stands in *folder*."""
        self._folder = folder
        self._sink = sink
        self._clock = clock
        self._list = listing
        self._listed_at = 0  # the folder's mtime, if the listing made of it still holds
        self.writers: dict[str, Writer] = {}
        self.corrupt = 0
        """Damaged stretches met so far."""
        self.torn = 0
        """Entries that a dying writer left half written."""
        self.noted = 0
        """Grows with each of these, each loss and each call that is given up."""
        self.lost_at: datetime | None = None
        """When a writer last told of a loss."""
        self._lost_unsaid = 0
        self._say_losses_at = -math.inf

    def follow(self, *, urgent: bool = False) -> bool:
        """Read a piece of each writer's journal; True: there is more to read now. *urgent*: look for deaths now."""
        self._look_for_segments()
        more = False
        for writer in self.writers.values():
            now = self._clock()
            if now < writer.trouble_until:
                continue
            try:
                more |= self._follow(writer, now, urgent=urgent)
            except OSError as error:
                writer.trouble_until = now + _TROUBLE_SECONDS
                writer.trouble_since = min(writer.trouble_since, now)
                log.error("relay.segment_unreadable", error=str(error))
            else:
                writer.trouble_since = math.inf
        self._say_losses()
        return more

    @property
    def unread_since(self) -> float:
        """Tell, on our clock, since when a segment cannot be read, whatever stands in it; infinity: all can."""
        return min((writer.trouble_since for writer in self.writers.values()), default=math.inf)

    def forget(self, key: str) -> None:
        """Drop a writer of which nothing is left."""
        del self.writers[key]

    def _say_losses(self) -> None:
        """Log what was lost, now and then: while the journal is full, each process tells of it twice a second."""
        now = self._clock()
        if self._lost_unsaid and self.lost_at and now >= self._say_losses_at:
            log.error("relay.lost", records=self._lost_unsaid, at=self.lost_at.isoformat())
            self._lost_unsaid, self._say_losses_at = 0, now + _LOSSES_SECONDS

    def _look_for_segments(self) -> None:
        """List the folder, if it has changed; changes within a tick of its clock look alike, so let it settle first."""
        changed, now = os.stat(self._folder).st_mtime_ns, time.time()  # noqa: PTH116 (twenty times a second)
        if changed == self._listed_at:
            return
        for key, names in groupby(self._list(self._folder), key=lambda name: name.writer):
            writer = self.writers.setdefault(key, Writer())
            last = writer.segments[-1].name if writer.segments else None
            for name in self._without_gaps(last, [name for name in names if last is None or name > last]):
                path = self._folder / str(name)
                writer.segments.append(Segment(name, path, SegmentReader(path)))
        if abs(now - changed / 1e9) > _LISTING_SETTLES:
            self._listed_at = changed

    def _without_gaps(self, last: Name | None, names: list[Name]) -> list[Name]:
        """Add the segments between *last* and the newest of *names* that are there though they were not listed.

        A listing is no snapshot: one made during a rename may show a segment and not the one that was made before it.
        """
        if not names:
            return []
        first = names[0] if last is None else last.next
        while last is None and first.number and (self._folder / str(first.previous)).exists():
            first = first.previous
        numbers = range(first.number, names[-1].number + 1)
        listed = set(names)
        between = (Name(first.writer, number) for number in numbers)
        return [name for name in between if name in listed or (self._folder / str(name)).exists()]

    def _follow(self, writer: Writer, now: float, *, urgent: bool) -> bool:
        segment = next((segment for segment in writer.segments if not segment.done), None)
        if segment is None:
            return False
        is_newest = segment is writer.segments[-1]
        try:
            if is_newest and not writer.dead and (urgent or now >= writer.probe_at):
                writer.probe_at = now + _PROBE_SECONDS
                writer.dead = self._has_died(segment)
            more = self._read(writer, segment, final=writer.dead or not is_newest)
        except FileNotFoundError:
            log.error("relay.segment_vanished", path=str(segment.path))
            segment.done, more = True, False
            writer.dead = is_newest
        if segment.done:
            self._sink.ended(segment)
            if is_newest:
                left = list(writer.open.values())
                writer.open.clear()
                self._give_up(segment, left, self._sink.died)
        return more or (segment.done and not is_newest)

    def _has_died(self, newest: Segment) -> bool:
        return is_released(newest.path) and not (self._folder / str(newest.name.next)).exists()

    def _read(self, writer: Writer, segment: Segment, *, final: bool) -> bool:
        reader = segment.reader
        corrupt, torn = reader.corrupt, reader.torn
        found = reader.read(final=final)
        for start, end, entry in found:
            self._track(writer, segment, start, end, entry)
            self._sink.saw(segment, start, end, entry)
        if misfits := [each.start for each in found if isinstance(each.entry, Misfit)]:
            segment.misfit += len(misfits)
            self.noted += 1
            log.error("relay.misfit", path=str(segment.path), first_at=misfits[0], records=len(misfits))
        if reader.corrupt > corrupt:
            self.corrupt += reader.corrupt - corrupt
            self.noted += 1
            log.error("relay.corrupt", path=str(segment.path), before=reader.at, stretches=reader.corrupt)
        if reader.torn > torn:
            self.torn += 1
            self.noted += 1
            log.warning("relay.torn", path=str(segment.path), at=reader.at)
        segment.done = reader.done
        return reader.behind

    def _track(self, writer: Writer, segment: Segment, start: int, end: int, entry: Entry) -> None:
        """Keep where each open call's latest OPEN or ENDED stands, which holds its segment."""
        earlier: Place | None = None
        if isinstance(entry, Opened | Ended):
            name = entry.request_id if isinstance(entry, Opened) else entry.record.request_id
            earlier = writer.open.get(name)
            writer.open[name] = Place(segment, start, end)
            segment.holds += 1
            segment.copies += 1
        elif isinstance(entry, Closed):
            earlier = writer.open.pop(entry.record.request_id, None)
        elif isinstance(entry, Misfit):
            earlier = writer.open.pop(entry.request_id, None)
        elif isinstance(entry, Lost):
            segment.lost += entry.records
            self.noted += 1
            self.lost_at = max(self.lost_at or entry.at, entry.at)
            self._lost_unsaid += entry.records
        elif segment.copies == entry.calls:
            self._give_up_unread(writer, segment)
        if earlier:
            earlier.segment.holds -= 1

    def _give_up_unread(self, writer: Writer, segment: Segment) -> None:
        """Give up the calls whose end must stand in what is damaged, else they would hold their segments for ever.

        Here all copies of the calls that were open when *segment* was made have been read: one without a copy has
        ended. Its end may stand behind the copies; so only what was damaged before the last segment counts.
        """
        *earlier, last = [one for one in writer.segments if one.name < segment.name] or [segment]
        damaged = [one for one in earlier if one.reader.corrupt]
        if damaged and not last.reader.corrupt:
            names = [name for name, place in writer.open.items() if place.segment.name <= damaged[-1].name]
            self._give_up(segment, [writer.open.pop(name) for name in names], self._sink.unread)

    def _give_up(self, segment: Segment, left: list[Place], tell: Callable[[Segment, list[Place]], None]) -> None:
        segment.adopted += len(left)
        self.noted += bool(left)
        tell(segment, left)
