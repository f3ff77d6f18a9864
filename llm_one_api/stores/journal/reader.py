"""Reads segments: from the front as they grow, or a stretch again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm_one_api.stores.journal.entries import Entry, decode
from llm_one_api.stores.journal.framing import HEADER_SIZE, MAX_PAYLOAD, Frame, scan

_CHUNK = 256 << 10


class Found(NamedTuple):
    """An entry and where it stands in its segment."""

    start: int
    end: int
    entry: Entry


class SegmentReader:
    """Follows one segment to its end; damage is stepped over and counted."""

    def __init__(self, path: Path, *, chunk: int = _CHUNK) -> None:
        """Begin at the front of *path*; one call of `read` takes about *chunk* bytes."""
        self._path = path
        self._usual = self._chunk = chunk
        self.at = 0
        """The place up to which all is read."""
        self.corrupt = 0
        """Stretches that could not be read."""
        self.torn = 0
        """1 if the segment ends in the middle of an entry."""
        self.behind = False
        """There is more to read now."""
        self.done = False
        """All is read, and it was final."""

    def read(self, *, final: bool) -> list[Found]:
        """Read on; *final* says that nobody writes to the segment any more. Raises OSError."""
        if self.done:
            return []
        data = _read_bytes(self._path, self.at, self._chunk)
        at_end = len(data) < self._chunk
        result = scan(data, final=final and at_end)
        found, unreadable = _decoded(result.frames, self.at)
        self.corrupt += result.corrupt + unreadable
        self.torn += result.torn
        self.at += result.consumed
        # An entry may be longer than the usual piece.
        self._chunk = self._usual if result.consumed or at_end else min(self._chunk * 2, MAX_PAYLOAD + HEADER_SIZE + 1)
        self.behind = not at_end
        self.done = final and at_end
        return found


def read_stretch(path: Path, start: int, end: int) -> list[Found]:
    """Read the entries between two places, once more. Raises OSError."""
    data = _read_bytes(path, start, end - start)
    return _decoded(scan(data, final=True).frames, start)[0]


def _read_bytes(path: Path, at: int, size: int) -> bytes:
    """Open, read, close: thousands of segments may wait, and none holds a descriptor."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, at)
    finally:
        os.close(fd)


def _decoded(frames: list[Frame], base: int) -> tuple[list[Found], int]:
    found: list[Found] = []
    unreadable = 0
    for start, end, payload in frames:
        try:
            found.append(Found(base + start, base + end, decode(payload)))
        except (msgspec.MsgspecError, TypeError, ValueError, ArithmeticError, RecursionError):
            unreadable += 1
    return found, unreadable
