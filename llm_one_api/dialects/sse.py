"""Server-sent events as bytes: where they end, and what they say. No I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_HELD = 64 * 1024
"""Bytes of an incomplete event that are held back at most; a longer one passes as it comes."""

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class EventCutter:
    """Cuts a stream into pieces that end where an event ends, without changing a byte.

    An event that is longer passes raw, so memory is bounded; `on_boundary` says whether what has
    been handed out so far ends with an event, so that an event of ours could follow.
    """

    __slots__ = ("_held", "_longest", "on_boundary")

    def __init__(self, longest: int = LONGEST_HELD) -> None:
        """Hold back an incomplete event of up to *longest* bytes."""
        self._held = b""
        self._longest = longest
        self.on_boundary = True

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; give all complete events, or b"" while the first is incomplete."""
        searched = 0
        if self._held:
            searched = max(0, len(self._held) - LONGEST_BLANK + 1)  # before it there is no end of an event
            data = self._held + data
            self._held = b""
        if data.endswith(b"\n\n"):
            self.on_boundary = True
            return data
        end = _end_of_last(data, searched)
        if end == 0:
            if len(data) > self._longest:
                self.on_boundary = False
                return data
            self._held = data
            return b""
        self._held = data[end:]
        self.on_boundary = True
        return data[:end]

    @property
    def rest(self) -> bytes:
        """What is left over: the last event of a stream that ends without a blank line, or half of one."""
        return self._held


def _end_of_last(data: bytes, start: int) -> int:
    """Find where the last complete event in *data* ends, from *start* on; 0: none does."""
    end = 0
    for blank in (b"\n\n", b"\n\r\n", b"\r\r"):
        at = data.rfind(blank, start)
        if at >= 0:
            end = max(end, at + len(blank))
    return end


LONGEST_BLANK = 4
"""Bytes of what ends an event, at most."""


def end_of_first(data: bytes) -> int:
    """Find where the first event in *data* ends; its length if it has no end."""
    found = _EVENT_END.search(data)
    return found.end() if found else len(data)


def events(batch: bytes) -> Iterator[bytes]:
    """Cut *batch* into its events, each with the blank line that ends it (the last may lack it)."""
    start = 0
    if b"\r" not in batch:  # the usual one, and much faster than a pattern
        while start < len(batch):
            end = batch.find(b"\n\n", start) + 2
            yield batch[start : end if end > 1 else len(batch)]
            start = end if end > 1 else len(batch)
        return
    for blank in _EVENT_END.finditer(batch):
        yield batch[start : blank.end()]
        start = blank.end()
    if start < len(batch):
        yield batch[start:]


def spans_backwards(batch: bytes) -> Iterator[tuple[int, int]]:
    """Give where each event of *batch* starts and ends, the last first."""
    if b"\r" in batch:
        spans, at = [], 0
        for event in events(batch):
            spans.append((at, at + len(event)))
            at += len(event)
        yield from reversed(spans)
        return
    end = len(batch)
    while end > 0:
        start = batch.rfind(b"\n\n", 0, end - 2 if batch.endswith(b"\n\n", 0, end) else end) + 2
        if start == 1:
            start = 0
        yield start, end
        end = start


def data_of(event: bytes) -> bytes:
    """Read an event's data: its `data:` lines joined by newlines; b"" if it has none (a comment, say)."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and event.endswith(b"\n\n") and b"\r" not in event:  # noqa: PLR2004
        return event[6:-2]
    found = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            found.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(found)


def event_of(data: bytes) -> bytes:
    """Write an event with *data*, which must have no newline."""
    return b"data: " + data + b"\n\n"


def as_list(batch: bytes) -> bytes | None:
    """Write a batch of events with one `data: ` line each as one JSON list, to be decoded at once; None: it is not so.

    A raw newline cannot stand in JSON's strings, so what parts two events cannot stand in one.
    """
    if not batch.startswith(b"data: ") or b"\r" in batch:
        return None
    end = len(batch) - (len(_DONE) if batch.endswith(_DONE) else 0)
    return b"[" + batch[6 : end - 2].replace(b"\n\ndata: ", b",") + b"]" if end > 6 else b"[]"  # noqa: PLR2004


_DONE = b"data: [DONE]\n\n"
