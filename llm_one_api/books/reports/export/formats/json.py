"""JSON: one array, a call a line."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.export.formats.format import Sink, fields
from llm_one_api.values import UsageRecord

_json = msgspec.json.Encoder()


class Json:
    """Writes an array of calls."""

    def __init__(self, sink: Sink, zone: ZoneInfo) -> None:
        """Begin it."""
        self._sink, self._zone = sink, zone
        self.rows = 0
        sink.write(b"[")

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some."""
        parts = bytearray()
        for call in calls:
            parts += b",\n" if self.rows else b"\n"
            parts += _json.encode(fields(call, self._zone))
            self.rows += 1
        self._sink.write(bytes(parts))

    def end(self) -> None:
        """End it."""
        self._sink.write(b"\n]\n" if self.rows else b"]\n")
