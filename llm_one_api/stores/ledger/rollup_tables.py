"""The ledger's sums: what pages, reports, alerts and quota checks read instead of single calls."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, Text

from llm_one_api.stores.ledger.tables import USAGE_COLUMNS, Moment, metadata

DIMENSIONS = ("user", "key", "model", "endpoint", "stream", "outcome", "upstream")
"""By what rollups tell calls apart. Where a call had no upstream, it is an empty text."""
LATENCY_DIMENSIONS = ("model", "endpoint", "stream", "upstream")

ROLLUP_COUNTS = (
    "requests",
    "attempts",
    "sdk_retries",
    *USAGE_COLUMNS,
    "with_prompt_tokens",
    "with_completion_tokens",
    "with_tokens",
    "estimated",
    "partial",
    "audio_us",
    "duration_us",
    "with_duration",
    "ttft_us",
    "with_ttft",
    "priced",
    "unpriced",
    "cost_micros",
    "cost_picos",
)
"""The columns of sums. They are whole numbers, for sums of fractions depend on their order, and SQLite has no decimals:
`…_us` are microseconds, and a cost is `cost_micros` / 1e6 + `cost_picos` / 1e12 USD. `with_…` counts the calls of which
a figure is known, `unpriced` those whose usage is known and their cost is not."""


def _dimension(name: str) -> Column[Any]:
    kind: Any = {"stream": Boolean(), "outcome": String(32)}.get(name) or Text()
    return Column(name, kind, primary_key=True)


def _rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("slot", Moment, primary_key=True, doc="Its begin, in UTC"),
        *map(_dimension, DIMENSIONS),
        *[Column(figure, BigInteger, nullable=False) for figure in ROLLUP_COUNTS],
        sqlite_with_rowid=False,
    )


rollups_quarter = _rollup("rollups_quarter")
"""Sums by quarters of an hour, exact in every time zone."""
rollups_hour = _rollup("rollups_hour")
"""Sums by hours, kept for good."""


def _latencies(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("slot", Moment, primary_key=True, doc="Its begin, in UTC"),
        *map(_dimension, LATENCY_DIMENSIONS),
        Column("kind", String(8), primary_key=True, doc="duration or ttft"),
        Column("bucket", Integer, primary_key=True, autoincrement=False, doc="Number n: up to 1.05 ** n microseconds"),
        Column("calls", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


latencies_quarter = _latencies("latencies_quarter")
latencies_hour = _latencies("latencies_hour")
"""How many calls took how long, in buckets 5 % apart: sums of these are true percentiles, means of means are not."""
