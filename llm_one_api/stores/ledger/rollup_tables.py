"""The ledger's sums: what pages, reports, alerts and quota checks read instead of single calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, Text

from llm_one_api.stores.ledger.tables import USAGE_COLUMNS, Moment, metadata

Level = Literal["quarter", "hour", "day", "month"]
"""How long the slots of a table of sums are."""

DIMENSIONS = ("user", "key", "model", "endpoint", "stream", "outcome", "upstream")
"""By what rollups tell calls apart. Where a call had no upstream, it is an empty text."""
TRAFFIC_DIMENSIONS = ("model", "endpoint", "stream", "outcome", "upstream")
"""The same without who called: most questions are about all callers together, and these have a tenth of the rows."""
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


def _slot() -> Column[Any]:
    return Column("slot", Moment, primary_key=True, doc="Its begin, in UTC")


def _rollup(name: str, dimensions: Sequence[str]) -> Table:
    return Table(
        name,
        metadata,
        _slot(),
        *map(_dimension, dimensions),
        *[Column(figure, BigInteger, nullable=False) for figure in ROLLUP_COUNTS],
        sqlite_with_rowid=False,
    )


rollups_quarter = _rollup("rollups_quarter", DIMENSIONS)
"""Sums by quarters of an hour, exact in every time zone."""
rollups_hour = _rollup("rollups_hour", DIMENSIONS)
"""Sums by hours, kept for good."""
traffic_quarter = _rollup("traffic_quarter", TRAFFIC_DIMENSIONS)
traffic_hour = _rollup("traffic_hour", TRAFFIC_DIMENSIONS)


def _kind() -> Column[Any]:
    return Column("kind", String(8), primary_key=True, doc="duration or ttft")


def _latencies(name: str) -> Table:
    return Table(
        name,
        metadata,
        _slot(),
        *map(_dimension, LATENCY_DIMENSIONS),
        _kind(),
        Column("bucket", Integer, primary_key=True, autoincrement=False, doc="Number n: up to 1.05 ** n microseconds"),
        Column("calls", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


latencies_quarter = _latencies("latencies_quarter")
latencies_hour = _latencies("latencies_hour")
"""How many calls took how long, in buckets 5 % apart: sums of these are true percentiles, means of means are not."""


def _packed(name: str) -> Table:
    return Table(
        name,
        metadata,
        _slot(),
        *map(_dimension, LATENCY_DIMENSIONS),
        _kind(),
        Column("calls", Text, nullable=False, doc="How many by bucket, as a JSON object"),
        sqlite_with_rowid=False,
    )


closed_periods = Table(
    "closed_periods",
    metadata,
    Column("level", String(8), primary_key=True, doc="day or month"),
    Column("since", Moment, primary_key=True),
    Column("until", Moment, nullable=False),
)
"""The days and months whose sums are made: those of the tables below that begin then are what the hours come to."""
rollups_day = _rollup("rollups_day", DIMENSIONS)
rollups_month = _rollup("rollups_month", DIMENSIONS)
traffic_day = _rollup("traffic_day", TRAFFIC_DIMENSIONS)
traffic_month = _rollup("traffic_month", TRAFFIC_DIMENSIONS)
latencies_day = _packed("latencies_day")
latencies_month = _packed("latencies_month")
latencies_day_hours = Table(
    "latencies_day_hours",
    metadata,
    _slot(),
    _dimension("model"),
    _kind(),
    Column("hours", Text, nullable=False, doc="The calls of a day by hours, counted from the first, and by bucket"),
    sqlite_with_rowid=False,
)
"""For pages that show a month hour by hour, which by all dimensions would be too much to add up."""

ROLLUPS: dict[Level, Table] = {
    "quarter": rollups_quarter, "hour": rollups_hour, "day": rollups_day, "month": rollups_month
}  # fmt: skip
TRAFFIC: dict[Level, Table] = {
    "quarter": traffic_quarter, "hour": traffic_hour, "day": traffic_day, "month": traffic_month
}  # fmt: skip
LATENCIES: dict[Level, Table] = {
    "quarter": latencies_quarter, "hour": latencies_hour, "day": latencies_day, "month": latencies_month
}  # fmt: skip
"""The times of days and months are packed, all buckets in a row: to add them up so costs a tenth."""
