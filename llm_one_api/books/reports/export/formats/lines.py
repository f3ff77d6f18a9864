"""JSON Lines: a call a line."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.export.formats.format import Sink, fields
from llm_one_api.values import UsageRecord

_json = msgspec.json.Encoder()


class JsonLines:
    """Writes a call a line."""

    def __init__(self, sink: Sink, zone: ZoneInfo) -> None:
        """Write nothing yet."""
        self._sink, self._zone = sink, zone
        self.rows = 0

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some."""
        self._sink.write(_json.encode_lines([fields(call, self._zone) for call in calls]))
        self.rows += len(calls)

    def end(self) -> None:
        """Write nothing: each line stands for itself."""
