"""Keeps what a stream says, as little as can be, for the case that its upstream does not tell the usage at the end."""

from __future__ import annotations

from llm_one_api.dialects.reader import StreamReader
from llm_one_api.gateway.counts import Counting

MOST_HEARD = 8 * 1024
"""Bytes of events that wait to be looked through for their text; most streams end before, with their usage told."""


class Hearing:
    """Collects one stream's events, and hands their text on to be counted."""

    __slots__ = ("_counting", "_kept", "_reader", "_size")

    def __init__(self, counting: Counting, reader: StreamReader) -> None:
        """Have heard nothing yet; *reader* knows where the text stands."""
        self._counting = counting
        self._reader = reader
        self._kept: list[bytes] = []
        self._size = 0

    def keep(self, batch: bytes, whole: bool) -> None:
        """Keep a batch of events; not *whole*: a part of an event that is too long to be held, heard as it stands."""
        if not whole:
            self.hand_on()
            self._counting.hear(batch.decode("utf-8", "replace"))
            return
        self._kept.append(batch)
        self._size += len(batch)
        if self._size > MOST_HEARD:
            self.hand_on()

    def hand_on(self) -> None:
        """Have the text of what was kept counted."""
        kept, self._kept, self._size = self._kept, [], 0
        if kept:
            self._counting.hear(self._reader.texts(b"".join(kept)))
