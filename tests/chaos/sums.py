"""Compares what is added up somewhere with the single records, by plain SQL and by what the product tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import create_engine, make_url, text

from llm_one_api.values import UsageRecord
from tests.chaos.scene import PLUGIN, Scene

TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_QUARTER = 15


def differences(scene: Scene, records: Sequence[UsageRecord]) -> Iterator[str]:
    """Say where a sum is not what *records*, which are all that there are, come to."""
    for table, minutes in (("rollups_quarter", _QUARTER), ("rollups_hour", 60)):
        yield from _compare(table, _expected(records, minutes), _rollups(scene.ledger.url, table))
    for table in ("latencies_quarter", "latencies_hour"):
        told = sum(record.duration is not None for record in records)
        found = _one(scene.ledger.url, f"SELECT coalesce(sum(calls), 0) FROM {table} WHERE kind = 'duration'")
        if found != told:
            yield f"{table} has {found} durations, the records {told}"
    yield from _memory(scene.product.get("/v1/stats/memory"), records)
    yield from scene.quotas.differences(records)
    ids = {record.request_id for record in records}
    yield from _missing("in the log", ids - _logged(scene.product.folder / "logs" / "llm-one-api.log"))
    yield from _missing(
        "delivered to the stranger's plugin", ids - set(scene.delivered()) - _set_aside(scene.ledger.url)
    )


def _expected(records: Sequence[UsageRecord], minutes: int) -> Counter[tuple[Any, ...]]:
    sums: Counter[tuple[Any, ...]] = Counter()
    for record in records:
        at = record.at.astimezone(UTC)
        slot = at.replace(minute=at.minute // minutes * minutes if minutes < 60 else 0, second=0, microsecond=0)
        call = (record.user, record.key, record.model, record.endpoint, record.stream, record.outcome)
        group = (slot, *call, record.upstream or "")
        sums[*group, "requests"] += 1
        for name in TOKENS:
            sums[*group, name] += getattr(record.usage, name) or 0
    return sums


def _rollups(url: str, table: str) -> Counter[tuple[Any, ...]]:
    columns = 'slot, "user", "key", model, endpoint, stream, outcome, upstream, requests, ' + ", ".join(TOKENS)
    sums: Counter[tuple[Any, ...]] = Counter()
    for slot, *group in _rows(url, f"SELECT {columns} FROM {table}"):
        *who, requests, prompt, completion, total = group
        who[4] = bool(who[4])
        for name, figure in zip(("requests", *TOKENS), (requests, prompt, completion, total), strict=True):
            sums[_utc(slot), *who, name] += int(figure)
    return sums


def _compare(table: str, expected: Counter[tuple[Any, ...]], found: Counter[tuple[Any, ...]]) -> Iterator[str]:
    wrong = {key: (expected[key], found[key]) for key in expected.keys() | found.keys() if expected[key] != found[key]}
    for key, (records, sums) in list(wrong.items())[:3]:
        yield f"{table} has {sums} where the records have {records}: {key} ({len(wrong)} differences)"


def _memory(told: dict[str, Any], records: Sequence[UsageRecord]) -> Iterator[str]:
    if "total_requests" not in told:
        yield f"memory does not answer: {told}"
        return
    if told["total_requests"] != len(records):
        yield f"memory has {told['total_requests']} requests, the records {len(records)}"
    for name in TOKENS:
        expected = sum(getattr(record.usage, name) or 0 for record in records)
        found = sum(figures[name] or 0 for figures in told["models"].values())
        if found != expected:
            yield f"memory has {found} {name}, the records {expected}"


def _missing(where: str, ids: set[str]) -> Iterator[str]:
    if ids:
        yield f"{len(ids)} records are not {where}: {', '.join(sorted(ids)[:3])}"


def _logged(file: Path) -> set[str]:
    lines = file.read_bytes().splitlines() if file.exists() else []
    return {entry["request_id"] for line in lines if (entry := msgspec.json.decode(line)).get("event") == "response"}


def _set_aside(url: str) -> set[str]:
    return {name for (name,) in _rows(url, f"SELECT request_id FROM dead_letters WHERE consumer = '{PLUGIN}'")}


def _one(url: str, sql: str) -> int:
    ((value,),) = _rows(url, sql)
    return int(value)


def _rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]
    finally:
        engine.dispose()


def _utc(slot: Any) -> datetime:
    at = datetime.fromisoformat(slot) if isinstance(slot, str) else slot
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
