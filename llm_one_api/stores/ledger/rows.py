"""Records as rows and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from llm_one_api.stores.ledger.tables import USAGE_COLUMNS, records
from llm_one_api.values import Attempt, Usage, UsageRecord, Value

_json = msgspec.json.Encoder()
_attempts = msgspec.json.Decoder(tuple[Attempt, ...])
_words = msgspec.json.Decoder(tuple[str, ...])
_AS_JSON = frozenset({"tags", "attempts", "usage_raw", "usage_faults"})
_PLAIN = tuple(
    column.name
    for column in records.columns
    if column.name in UsageRecord.__struct_fields__ and column.name not in _AS_JSON
)
_OF_USAGE = (*USAGE_COLUMNS, "audio_seconds")
_COLUMNS = tuple(column.name for column in records.columns)
NUL, REPLACEMENT = "\x00", "\ufffd"


class Kept(Value, frozen=True, kw_only=True):
    """A record with its place in the ledger."""

    seq: int
    record: UsageRecord


def to_row(record: UsageRecord, seq: int) -> dict[str, Any]:
    """Lay *record* out as a row. NUL characters, which PostgreSQL takes in no text, become U+FFFD."""
    row: dict[str, Any] = {"seq": seq}
    for name in _PLAIN:
        value = getattr(record, name)
        row[name] = value.replace(NUL, REPLACEMENT) if isinstance(value, str) and NUL in value else value
    usage = record.usage
    for name in _OF_USAGE:
        row[name] = getattr(usage, name)
    row["tags"] = _text(record.tags)
    row["attempts"] = _text(record.attempts)
    row["usage_faults"] = _text(record.usage_faults)
    row["usage_raw"] = None if record.usage_raw is None else _text(record.usage_raw)
    return row


def _text(value: Any) -> str:
    """Write JSON for a text column; a NUL in it stands as an escape, which is no NUL."""
    return _json.encode(value).decode()


def to_record(row: Sequence[Any]) -> UsageRecord:
    """Read a record back from a row with all columns, in their order."""
    fields = dict(zip(_COLUMNS, row, strict=True))
    del fields["seq"]
    raw = fields["usage_raw"]
    fields["usage_raw"] = None if raw is None else msgspec.json.decode(raw)
    fields["tags"] = _words.decode(fields["tags"])
    fields["usage_faults"] = _words.decode(fields["usage_faults"])
    fields["attempts"] = _attempts.decode(fields["attempts"])
    return UsageRecord(usage=Usage(**{name: fields.pop(name) for name in _OF_USAGE}), **fields)
