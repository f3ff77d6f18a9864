"""CSV that a spreadsheet can open, without a cell that it would compute (`reporting/sheet.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from llm_one_api.books.reports.export.formats.format import Sink
from llm_one_api.reporting import layout, sheet
from llm_one_api.values import UsageRecord


class Sheet:
    """Writes a row a call, in the columns of `GET /v1/stats/requests` as CSV."""

    def __init__(self, sink: Sink, zone: ZoneInfo) -> None:
        """Write the head."""
        self._sink, self._zone = sink, zone
        self.rows = 0
        sink.write(sheet.line(layout.CALL_COLUMNS).encode())

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some."""
        lines = [sheet.line(layout.call_cells(layout.of_call(call, self._zone))) for call in calls]
        self._sink.write("".join(lines).encode())
        self.rows += len(calls)

    def end(self) -> None:
        """Write nothing."""
