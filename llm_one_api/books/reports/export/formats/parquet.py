"""Parquet: typed columns, by pyarrow (`pip install "llm-one-api[parquet]"`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.export.formats.format import FormatMissing, Sink
from llm_one_api.stores.ledger.tables import USAGE_COLUMNS
from llm_one_api.values import UsageRecord

GROUP = 10_000
"""Calls in a row group: as many are held on to."""

_TEXTS = (
    "request_id", "model", "upstream_model", "response_model", "service_tier", "user", "key", "group", "end_user",
    "client_request_id", "endpoint", "outcome", "error", "finish_reason", "provider_request_id", "upstream",
    "usage_source", "price_source",
)  # fmt: skip
_LISTS = ("tags", "usage_faults", "quota_windows")
_NUMBERS = ("duration", "ttft", "output_tokens_per_second")
_SMALL = ("status", "sdk_retry_count")
_AMOUNTS = ("cost", "quota_cost")


class Parquet:
    """Writes row groups of GROUP calls. The same calls give the same bytes as long as pyarrow is the same."""

    def __init__(self, sink: Sink, zone: ZoneInfo) -> None:  # noqa: ARG002 (times are moments here, and their zone UTC)
        """Write the head."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise FormatMissing('parquet needs pyarrow: pip install "llm-one-api[parquet]"') from None
        self._pa = pa
        self._schema, self._of = _columns(pa)
        self._writer = pq.ParquetWriter(_AsFile(sink), self._schema, compression="zstd")
        self._held: list[UsageRecord] = []
        self.rows = 0

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some, or hold on to them until there are enough."""
        self._held += calls
        while len(self._held) >= GROUP:
            self._write(self._held[:GROUP])
            del self._held[:GROUP]

    def end(self) -> None:
        """Write the rest and the foot."""
        if self._held:
            self._write(self._held)
            self._held = []
        self._writer.close()

    def _write(self, calls: Sequence[UsageRecord]) -> None:
        arrays = [
            self._pa.array([of(call) for call in calls], type=field.type)
            for field, of in zip(self._schema, self._of, strict=True)
        ]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=GROUP)
        self.rows += len(calls)


def _columns(pa: Any) -> tuple[Any, list[Callable[[UsageRecord], Any]]]:
    """Give the schema, and how each column is read: as in a record, its usage spread out."""
    attempt = pa.struct(
        [("upstream", pa.string()), ("status", pa.int32()), ("error", pa.string()), ("duration", pa.float64())]
    )
    kinds: dict[str, Any] = {
        "at": pa.timestamp("us", tz="UTC"), "stream": pa.bool_(), "price_date": pa.date32(),
        "attempts": pa.list_(attempt), "quota_tokens": pa.int64(),
        **dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_LISTS, pa.list_(pa.string())),
        **dict.fromkeys(_NUMBERS, pa.float64()), **dict.fromkeys(_SMALL, pa.int32()),
        **dict.fromkeys(_AMOUNTS, pa.decimal128(24, 12)),
    }  # fmt: skip
    fields: list[Any] = []
    readers: list[Callable[[UsageRecord], Any]] = []
    for name in UsageRecord.__struct_fields__:
        if name == "usage":
            for part in (*USAGE_COLUMNS, "audio_seconds"):
                fields.append(pa.field(part, pa.float64() if part == "audio_seconds" else pa.int64()))
                readers.append(lambda call, part=part: getattr(call.usage, part))  # type: ignore[misc]
        elif name != "usage_raw":
            fields.append(pa.field(name, kinds[name]))
            readers.append(_attempts if name == "attempts" else lambda call, name=name: getattr(call, name))  # type: ignore[misc]
    return pa.schema(fields), readers


def _attempts(call: UsageRecord) -> Any:
    return [msgspec.structs.asdict(attempt) for attempt in call.attempts]


class _AsFile:
    """What pyarrow takes for a file that can be written to."""

    closed = False
    mode = "wb"

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._place = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._sink.write(piece)
        self._place += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._place

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Do nothing: the sink flushes when it is finished."""

    def close(self) -> None:
        self.closed = True
