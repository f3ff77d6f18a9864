"""Records as rows and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import String

from llm_one_api.stores.ledger.tables import USAGE_COLUMNS, records
from llm_one_api.values import Attempt, Usage, UsageRecord, Value

_json = msgspec.json.Encoder()
_attempts = msgspec.json.Decoder(tuple[Attempt, ...])
_words = msgspec.json.Decoder(tuple[str, ...])
_AS_JSON = frozenset({"tags", "attempts", "usage_raw", "usage_faults", "quota_windows"})
_TEXTS = tuple(
    column.name for column in records.columns if isinstance(column.type, String) and column.name not in _AS_JSON
)
_PLAIN = tuple(
    column.name
    for column in records.columns
    if column.name in UsageRecord.__struct_fields__ and column.name not in _AS_JSON
)
_OF_USAGE = (*USAGE_COLUMNS, "audio_seconds")
_COLUMNS = tuple(column.name for column in records.columns)


def _cells(names: Sequence[str]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Make what takes the cells of *names* out of a row with all columns."""
    return itemgetter(*map(_COLUMNS.index, names))


_plain_cells, _usage_cells = _cells(_PLAIN), _cells(_OF_USAGE)
_json_cells = _cells(("tags", "attempts", "usage_raw", "usage_faults", "quota_windows"))
_NOTHING = "[]"
NUL, REPLACEMENT = "\x00", "\ufffd"


class Kept(Value, frozen=True, kw_only=True):
    """A record with its place in the ledger."""

    seq: int
    record: UsageRecord


def to_row(record: UsageRecord, seq: int) -> dict[str, Any]:
    """Lay *record* out as a row. NUL characters, which PostgreSQL takes in no text, become U+FFFD."""
    row = asdict(record)
    row.update(asdict(row.pop("usage")), seq=seq)
    for name in _TEXTS:
        value = row[name]
        if value and NUL in value:
            row[name] = value.replace(NUL, REPLACEMENT)
    row["tags"] = _text(record.tags)
    row["attempts"] = _text(record.attempts)
    row["usage_faults"] = _text(record.usage_faults)
    row["usage_raw"] = None if record.usage_raw is None else _text(record.usage_raw)
    row["quota_windows"] = _text(record.quota_windows) if record.quota_windows else None
    return row


def _text(value: Any) -> str:
    """Write JSON for a text column; a NUL in it stands as an escape, which is no NUL."""
    return _json.encode(value).decode()


def to_record(row: Sequence[Any]) -> UsageRecord:
    """Read a record back from a row with all columns, in their order."""
    tags, attempts, raw, faults, quota_windows = _json_cells(row)
    return UsageRecord(
        tags=() if tags == _NOTHING else _words.decode(tags),
        attempts=_attempts.decode(attempts),
        usage=Usage(**dict(zip(_OF_USAGE, _usage_cells(row), strict=True))),
        usage_raw=None if raw is None else msgspec.json.decode(raw),
        usage_faults=() if faults == _NOTHING else _words.decode(faults),
        quota_windows=() if quota_windows is None else _words.decode(quota_windows),
        **dict(zip(_PLAIN, _plain_cells(row), strict=True)),
    )
