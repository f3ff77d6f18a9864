"""Fills an empty ledger with the sums of a year of calls, by SQL: the calls themselves are made up, summed and dropped.

10 million calls of 50 users (a key each), 5 models and 3 upstreams, spread evenly: the worst case, for the more ways
calls differ in, the more rows their sums have. The same on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, text

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.rollup_tables import (
    LATENCY_DIMENSIONS,
    ROLLUP_COUNTS,
    latencies_hour,
    latencies_quarter,
    rollups_hour,
    rollups_quarter,
    traffic_hour,
    traffic_quarter,
)

USERS, MODELS, UPSTREAMS = 50, 5, 3
DAY = timedelta(days=1)
_MOMENT = "%Y-%m-%d %H:%M:%S.000000+00:00"


class Year(NamedTuple):
    """What there is to be made."""

    since: datetime
    days: int = 365
    calls: int = 10_000_000
    quarters_days: int = 90
    """Of the last days there are quarters."""

    @property
    def until(self) -> datetime:
        """When it ends."""
        return self.since + self.days * DAY


def fill(ledger: Ledger, year: Year, told: Callable[[int], object] = lambda _day: None) -> None:
    """Make the sums of *year*, a transaction a day; *told* hears of each."""
    a_day = -(-year.calls // year.days)
    with ledger._engine.connect() as connection:  # noqa: SLF001 (it makes what only a year of ingests would)
        with connection.begin():
            connection.execute(text(_CALLS))
        for day in range(year.days):
            with connection.begin():
                _fill_day(connection, year, day, a_day)
            told(day + 1)
        with connection.begin():
            connection.execute(text("DROP TABLE made_up"))
            connection.execute(text("ANALYZE"))


def _fill_day(connection: Connection, year: Year, day: int, a_day: int) -> None:
    begin = year.since + day * DAY
    is_postgresql = connection.dialect.name == "postgresql"
    at = "CAST(:begin AS timestamptz) + {} * interval '1 minute'" if is_postgresql else _SQLITE_AT
    slots = {"hour_slot": at.format("(minute / 60 * 60)"), "quarter_slot": at.format("(minute / 15 * 15)")}
    numbers = "generate_series(1, :calls) AS n(i)" if is_postgresql else _SQLITE_NUMBERS
    connection.execute(text("DELETE FROM made_up"))
    written = begin.strftime(_MOMENT) if is_postgresql else begin.strftime("%Y-%m-%d %H:%M:%S")
    values = {"begin": written, "calls": a_day, "before": day * a_day}
    connection.execute(text(_MAKE_UP.format(numbers=numbers, **slots)), values)
    has_quarters = day >= year.days - year.quarters_days
    for table, slot in _tables():
        if slot == "hour_slot" or has_quarters:
            connection.execute(text(_sum_up(table, slot)))


def _tables() -> Iterator[tuple[Table, str]]:
    yield from ((table, "hour_slot") for table in (rollups_hour, traffic_hour, latencies_hour))
    yield from ((table, "quarter_slot") for table in (rollups_quarter, traffic_quarter, latencies_quarter))


_CALLS = """CREATE TEMPORARY TABLE made_up AS SELECT slot AS hour_slot, slot AS quarter_slot, "user", "key", model,
endpoint, stream, outcome, upstream, prompt_tokens, completion_tokens, duration_us, ttft_us, cost_micros,
0 AS duration_bucket, 0 AS ttft_bucket FROM rollups_hour WHERE 1 = 0"""
_SQLITE_AT = "strftime('%Y-%m-%d %H:%M:00.000000', :begin, '+' || {} || ' minutes')"
_SQLITE_NUMBERS = """(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :calls)
SELECT i FROM n) AS n"""

# Two numbers that look like chance, of which each dimension takes its digits.
_MAKE_UP = """
INSERT INTO made_up
SELECT {hour_slot}, {quarter_slot}, 'user-' || who, 'key_' || who, 'model-' || which,
 CASE WHEN which = 4 THEN 'responses' ELSE 'chat' END, stream = 1, outcome,
 CASE WHEN outcome = 'rejected' THEN '' ELSE 'upstream-' || upstream END, prompt_tokens, completion_tokens,
 duration_us, duration_us / 4, prompt_tokens * 2 + completion_tokens * 8,
 CAST(ceil(ln(duration_us) / ln(1.05)) AS INTEGER), CAST(ceil(ln(duration_us / 4) / ln(1.05)) AS INTEGER)
FROM (
 SELECT x % 50 AS who, x / 50 % 5 AS which, x / 250 % 3 AS upstream, x / 750 % 2 AS stream,
  CASE x / 1500 % 100 WHEN 0 THEN 'rejected' WHEN 1 THEN 'upstream_error' WHEN 2 THEN 'timeout'
   WHEN 3 THEN 'client_gone' ELSE 'success' END AS outcome,
  y % 1440 AS minute, y / 1440 % 2000 AS prompt_tokens, y / 4000 % 1000 AS completion_tokens,
  CAST(150000 * exp(4.0 * (y / 1440 % 10007) / 10007.0) AS BIGINT) AS duration_us
 FROM (
  SELECT (a + a / 65536 * 40503) * 73244475 % 4294967296 AS x, (b + b / 65536 * 52711) * 69069 % 4294967296 AS y
  FROM (
   SELECT (i + :before) * 2654435761 % 4294967296 AS a, (i + :before) * 2246822519 % 4294967296 AS b FROM {numbers}
  ) AS numbers
 ) AS mixed
) AS calls"""


def _sum_up(table: Table, slot: str) -> str:
    if table.name.startswith("latencies"):
        by = ", ".join(LATENCY_DIMENSIONS)
        kinds = " UNION ALL ".join(
            f"SELECT {slot}, {by}, '{kind}', {kind}_bucket, COUNT(*) FROM made_up WHERE outcome <> 'rejected' "
            f"GROUP BY {slot}, {by}, {kind}_bucket"
            for kind in ("duration", "ttft")
        )
        return f"INSERT INTO {table.name} {kinds}"
    by = ", ".join(f'"{column.name}"' for column in table.primary_key.columns if column.name != "slot")
    figures = ", ".join(_FIGURES.get(name, "0") for name in ROLLUP_COUNTS)
    return f"INSERT INTO {table.name} SELECT {slot}, {by}, {figures} FROM made_up GROUP BY {slot}, {by}"


def _known(what: str) -> str:
    return f"SUM(CASE WHEN outcome = 'success' THEN {what} ELSE 0 END)"


_FIGURES: dict[str, Any] = {
    "requests": "COUNT(*)",
    "attempts": "SUM(CASE WHEN outcome = 'rejected' THEN 0 ELSE 1 END)",
    "prompt_tokens": _known("prompt_tokens"),
    "completion_tokens": _known("completion_tokens"),
    "total_tokens": _known("prompt_tokens + completion_tokens"),
    "cache_read_tokens": _known("prompt_tokens / 2"),
    "with_prompt_tokens": _known("1"),
    "with_completion_tokens": _known("1"),
    "with_tokens": _known("1"),
    "priced": _known("1"),
    "cost_micros": _known("cost_micros"),
    "duration_us": "SUM(CASE WHEN outcome = 'rejected' THEN 0 ELSE duration_us END)",
    "with_duration": "SUM(CASE WHEN outcome = 'rejected' THEN 0 ELSE 1 END)",
    "ttft_us": "SUM(CASE WHEN outcome = 'rejected' THEN 0 ELSE ttft_us END)",
    "with_ttft": "SUM(CASE WHEN outcome = 'rejected' THEN 0 ELSE 1 END)",
}
