"""Writes the journal of one gateway process: an OPEN before the upstream is called, a CLOSE when it has answered."""

from __future__ import annotations

import os
import time
import uuid
from _queue import SimpleQueue  # gevent replaces the one in `queue`; this one waits without the hub
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from llm_one_api.stores.journal.entries import Carried, Closed, Ended, Lost, Opened, framed
from llm_one_api.stores.journal.segments import Name, create, prepare, sync_and_close
from llm_one_api.values import UsageRecord

log = structlog.get_logger(__name__)

FsyncPolicy = Literal["always", "interval", "never"]

_MOST_WAITING = 4000
"""Records that wait in memory while the disk is full: twice as many as a process carries calls, by default."""
_MOST_BEFORE_REFUSED = 1000
"""While so many wait, those of refused calls are lost: a flood of them must not cost one that was sent."""
_RETRY_SECONDS = 0.1
_TELL_SECONDS = 10.0
_OVER = "more waits than journal.max_bytes"
_WORTH_ENDING = 64 << 10


def call_here(blocking: Callable[[], None]) -> None:
    """Run what may block right here: for processes without a hub."""
    blocking()


class Journal:
    """Keeps the calls of this process on disk, where a kill of the process cannot take them.

    One a process, made after the fork; its first segment is made at the first entry. `open` and `close` belong to one
    thread (the hub's). `sync` may run in any, at the same time; call it every half second or so whatever the policy:
    it also lets idle segments go and tries again what a full disk refused.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 16 << 20,
        segment_seconds: float = 300.0,
        fsync: FsyncPolicy = "interval",
        offload: Callable[[Callable[[], None]], None] = call_here,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """Write to *folder*. With `always`, *offload* runs each fsync elsewhere and returns when it is done."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._policy = fsync
        self._offload = offload
        self._clock = clock
        self._now = now
        self._write = write
        self._turn: SimpleQueue[None] = SimpleQueue()
        """A lock: holds one None while nobody writes. Nothing that may switch greenlets (a log line) is done inside."""
        self._turn.put(None)
        self._open: dict[str, bytes] = {}
        self._waiting: deque[bytes] = deque()
        """CLOSEs that the disk refused; refused OPENs stand in `_open`, which every new segment begins with."""
        self._name: Name | None = None
        self._fd = -1
        self._size = self._size_at_start = 0
        self._renew_at = self._retry_at = self._tell_at = 0.0
        self._broken = False
        self._dirty = False
        self._made = self._made_durable = 0
        """Segments that were begun, and how many of them the folder's synced list of names has."""
        self._sealed: list[int] = []
        self._trouble: str | None = None
        self._told: tuple[str | None, int] = (None, 0)
        self._refused = False
        """An entry could not be written yet: it waits in memory, if there was room."""
        self._over = self._let_go = False
        self.lost = 0
        """Records that a full journal has cost: too many were waiting in memory already, or in the folder."""
        self._lost_told = 0

    @property
    def full(self) -> bool:
        """Tell whether the disk refused the last entry, or as much waits in the folder as may."""
        return self._refused or self._over

    @property
    def lost_untold(self) -> int:
        """Count the lost records that the journal does not know of yet."""
        return self.lost - self._lost_told

    @property
    def open_calls(self) -> int:
        """Count the calls that were opened and not closed."""
        return len(self._open)

    def limit(self, *, over: bool) -> None:
        """Hear whether more waits in the folder than may; until there is room again, no new call gets into it.

        A call whose OPEN stands there is finished all the same. The present segment ends soon, as do later ones that
        have grown: their calls may be in the ledger by now, and none leaves the folder while it is written to.
        """
        self._let_go = over and (not self._over or self._size - self._size_at_start >= _WORTH_ENDING)
        self._over = over

    def open(self, opened: Opened) -> None:
        """Keep that a call is about to go upstream."""
        if self._over:
            return
        entry = framed(opened)
        self._open[opened.request_id] = entry
        self._append(entry, b"")

    def end(self, record: UsageRecord) -> None:
        """Keep how a call ended whose tokens are still being counted: `close` follows."""
        if self._over and record.request_id not in self._open:
            return
        entry = framed(Ended(record=record))
        self._open[record.request_id] = entry
        self._append(entry, b"")

    def close(self, record: UsageRecord, *, again: bool = False) -> None:
        """Keep how a call ended; it need not have been opened. *again*: it was kept before, and acked."""
        if self._over and record.request_id not in self._open:
            self.lost += 1
            return
        entry = framed(Closed(record=record, again=again))
        self._open.pop(record.request_id, None)
        self._append(entry, entry, _MOST_BEFORE_REFUSED if record.outcome == "rejected" else _MOST_WAITING)

    def sync(self) -> None:
        """Bring to the disk what is not there yet, by policy; try again what was refused; let an idle segment go."""
        self._turn.get()
        try:
            has_news = self._fd >= 0 and self._size > self._size_at_start
            if self._refused or self._waiting or (has_news and (self._let_go or self._is_due())):
                renewed = self._renew(b"")
                self._refused = bool(self._waiting) or (self._refused and not renewed)
            if not self._refused:
                self._tell_losses()
            unsynced = self._take_unsynced() if self._policy != "never" else None
        finally:
            self._turn.put(None)
        if unsynced:
            unsynced()
        self._tell()

    def shut(self) -> None:
        """Sync and let go: the relay takes what is still open for aborted. What the disk still refuses is lost."""
        self.sync()
        self._turn.get()
        try:
            self.lost += len(self._waiting)
            self._waiting.clear()
            self._tell_at = 0.0
            for fd in [*self._sealed, *([self._fd] if self._fd >= 0 else [])]:
                os.close(fd)
            self._sealed.clear()
            self._open.clear()
            # This writer counts as dead from now on: an entry that comes all the same begins another.
            self._fd, self._name = -1, None
        finally:
            self._turn.put(None)
        self._tell()

    def _append(self, entry: bytes, unless_open: bytes, most_waiting: int = 0) -> None:
        """Write *entry*, to a new segment where the present one is used up; *unless_open* is it, if it is a CLOSE.

        One that cannot be written waits in memory, unless *most_waiting* wait already.
        """
        self._turn.get()
        try:
            kept = (
                (not self._is_due() and self._put(entry))
                or self._renew(unless_open)
                or self._put(entry)  # no new segment can be made, but the present one may still serve
            )
            if not kept and unless_open:
                if len(self._waiting) < most_waiting:
                    self._waiting.append(unless_open)
                else:
                    self.lost += 1
            self._refused = not kept or bool(self._waiting)
            unsynced = self._take_unsynced() if kept and self._policy == "always" else None
        finally:
            self._turn.put(None)
        if unsynced:
            self._offload(unsynced)
        if self._trouble != self._told[0]:
            self._tell()

    def _is_due(self) -> bool:
        return self._size >= self._segment_bytes or self._clock() >= self._renew_at

    def _put(self, entry: bytes) -> bool:
        if self._broken or self._fd < 0:
            return False
        try:
            written = self._write(self._fd, entry)
        except OSError as error:
            self._trouble = str(error)
        else:
            if written == len(entry):
                self._size += written
                self._dirty = True
                return True
            self._trouble = f"short write: {written} of {len(entry)} bytes"
        # What may stand there now is half an entry: nothing may follow it.
        self._broken = True
        return False

    def _renew(self, close: bytes) -> bool:
        """Begin a new segment, with *close* in it; then write those that wait, as far as there is room."""
        if self._clock() < self._retry_at or not self._begin(close):
            return False
        while self._waiting:
            if self._is_due() and not self._begin(b""):
                break
            if not self._put(self._waiting[0]):
                self._retry_at = self._clock() + _RETRY_SECONDS
                break
            self._waiting.popleft()
        return True

    def _begin(self, close: bytes) -> bool:
        """Begin a new segment with the calls still open and *close*, and let the old one go."""
        now = self._clock()
        name = self._name.next if self._name else Name(uuid.uuid4().hex, 0)
        carried = b"".join([*self._open.values(), framed(Carried(calls=len(self._open)))])
        content = carried + close
        try:
            prepare(self._folder)
            fd = create(self._folder, name, content, self._write)
        except OSError as error:
            self._trouble = str(error)
            self._retry_at = now + _RETRY_SECONDS
            return False
        if self._fd >= 0:
            if self._policy == "never":
                os.close(self._fd)
            else:
                self._sealed.append(self._fd)
        self._name, self._fd = name, fd
        self._size, self._size_at_start = len(content), len(carried)
        self._renew_at, self._retry_at = now + self._segment_seconds, 0.0
        self._dirty, self._made = True, self._made + 1
        self._broken, self._trouble, self._let_go = False, None, False
        return True

    def _tell_losses(self) -> None:
        """Write down how many records were lost, so that it is known when this process is gone."""
        lost = self.lost_untold
        if lost:
            entry = framed(Lost(records=lost, at=self._now()))
            if self._put(entry) or (self._renew(b"") and self._put(entry)):
                self._lost_told += lost

    def _take_unsynced(self) -> Callable[[], None] | None:
        """Collect what must reach the disk, in descriptors of its own: the writer goes on meanwhile, and may rotate."""
        fds, self._sealed = self._sealed, []
        if self._dirty and self._fd >= 0:
            fds.append(os.dup(self._fd))
        self._dirty = False
        # As long as nobody has brought the names to the disk, everybody has to: one that is at it may not be done yet.
        made = self._made if self._made > self._made_durable else 0
        return partial(self._bring_to_disk, fds, made) if fds or made else None

    def _bring_to_disk(self, fds: list[int], made: int) -> None:
        try:
            sync_and_close(fds, self._folder if made else None)
        except OSError as error:
            # After a failed fsync nobody knows what is there: go on in a new segment.
            self._trouble = f"fsync: {error}"
            self._broken = True
        else:
            self._made_durable = max(self._made_durable, made)

    def _tell(self) -> None:
        """Log what has changed since it was last told; mere numbers now and then: the log's disk may be full too."""
        trouble, lost = self._trouble or (_OVER if self._over else None), self.lost
        now = self._clock()
        if (trouble, lost) == self._told or (trouble == self._told[0] and now < self._tell_at):
            return
        self._told, self._tell_at = (trouble, lost), now + _TELL_SECONDS
        if trouble:
            log.error("journal.trouble", error=trouble, full=self.full, waiting=len(self._waiting), lost=lost)
        else:
            log.warning("journal.recovered", lost=lost)
