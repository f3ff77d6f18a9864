"""Adds calls up, in memory: by slot and dimensions, as the tables of `rollup_tables.py` have it.

The one definition of what a sum is: ingest adds what is new, `rollups.py` makes sums anew and compares them by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import add, itemgetter
from typing import Any

import msgspec
from sqlalchemy import RowMapping, Table

from llm_one_api.stores.buckets import bucket_of
from llm_one_api.stores.ledger.rollup_tables import (
    DIMENSIONS,
    LATENCY_DIMENSIONS,
    ROLLUP_COUNTS,
    TRAFFIC_DIMENSIONS,
    latencies_hour,
    latencies_quarter,
    rollups_hour,
    rollups_quarter,
    traffic_hour,
    traffic_quarter,
)
from llm_one_api.stores.ledger.tables import DOLLAR, USAGE_COLUMNS

HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
UNKNOWN_MODEL = "(unknown)"
"""The model of calls that were refused because there is none of that name: the names are the callers' choice."""
MILLION = 10**6
"""Trillionths of a dollar in a millionth, and microseconds in a second."""

COLUMNS = (
    "at", *DIMENSIONS, "error", "attempts", "sdk_retry_count", *USAGE_COLUMNS, "audio_seconds", "usage_source",
    "duration", "ttft", "cost",
)  # fmt: skip
"""What is read of a record's row."""

Key = tuple[Any, ...]
"""A slot and dimensions, in the order of the table's key."""
Rows = dict[Key, list[int]]
Row = Mapping[str, Any] | RowMapping

_AT = {name: number for number, name in enumerate(ROLLUP_COUNTS)}
_FIRST_USAGE = _AT["prompt_tokens"]
_USAGE = tuple(enumerate(USAGE_COLUMNS, _FIRST_USAGE))
_MICROS, _PICOS = _AT["cost_micros"], _AT["cost_picos"]
_WITH = (
    (_AT["with_prompt_tokens"], "prompt_tokens"),
    (_AT["with_completion_tokens"], "completion_tokens"),
    (_AT["with_tokens"], "total_tokens"),
)
_REQUESTS, _ATTEMPTS, _RETRIES = _AT["requests"], _AT["attempts"], _AT["sdk_retries"]
_AUDIO, _PRICED, _UNPRICED = _AT["audio_us"], _AT["priced"], _AT["unpriced"]
_SOURCES = {"estimated": _AT["estimated"], "partial": _AT["partial"]}
_TIMES = (("duration", _AT["duration_us"], _AT["with_duration"]), ("ttft", _AT["ttft_us"], _AT["with_ttft"]))
_TRAFFIC_FROM_CALL = itemgetter(0, *[DIMENSIONS.index(name) + 1 for name in TRAFFIC_DIMENSIONS])
_FROM_CALL = tuple(DIMENSIONS.index(name) + 1 for name in LATENCY_DIMENSIONS)

_attempts = msgspec.json.Decoder(list[msgspec.Raw])


def hour_of(at: datetime) -> datetime:
    """Give the hour that *at* lies in, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def quarter_of(at: datetime) -> datetime:
    """Give the quarter of an hour that *at* lies in, in UTC."""
    utc = at.astimezone(UTC)
    return utc.replace(minute=utc.minute // 15 * 15, second=0, microsecond=0)


def units(cost: Decimal) -> int:
    """Give an amount in trillionths of a dollar."""
    return int((cost * DOLLAR).to_integral_value())


class Sums:
    """Sums of the calls that were added."""

    def __init__(self) -> None:
        """Begin with none."""
        self._quarters: Rows = {}
        self._latencies: dict[Key, int] = {}

    def add(self, row: Row) -> None:
        """Add a call, given as its row in `records` (`COLUMNS` of it)."""
        key = key_of(row)
        sums = self._quarters.get(key)
        if sums is None:
            sums = self._quarters[key] = [0] * len(ROLLUP_COUNTS)
        sums[_REQUESTS] += 1
        sums[_ATTEMPTS] += len(_attempts.decode(row["attempts"]))
        if row["sdk_retry_count"]:
            sums[_RETRIES] += 1
        for number, name in _USAGE:
            if figure := row[name]:
                sums[number] += figure
        for number, name in _WITH:
            if row[name] is not None:
                sums[number] += 1
        source = row["usage_source"]
        if source in _SOURCES:
            sums[_SOURCES[source]] += 1
        if row["audio_seconds"]:
            sums[_AUDIO] += round(row["audio_seconds"] * MILLION)
        cost = row["cost"]
        if cost is not None:
            _add_cost(sums, units(cost))
            sums[_PRICED] += 1
        elif source != "none":
            sums[_UNPRICED] += 1
        for kind, number, known in _TIMES:
            seconds = row[kind]
            if seconds is not None:
                microseconds = round(seconds * MILLION)
                sums[number] += microseconds
                sums[known] += 1
                bucket = (key[0], *[key[n] for n in _FROM_CALL], kind, bucket_of(microseconds))
                self._latencies[bucket] = self._latencies.get(bucket, 0) + 1

    def give_cost(self, row: Row, cost: Decimal) -> None:
        """Add what changes when the call of *row* is given *cost* instead of the one that it has, or has not."""
        sums = self._quarters.setdefault(key_of(row), [0] * len(ROLLUP_COUNTS))
        before = row["cost"]
        _add_cost(sums, units(cost) - (units(before) if before is not None else 0))
        if before is None:
            sums[_PRICED] += 1
            sums[_UNPRICED] -= row["usage_source"] != "none"

    @property
    def ends(self) -> tuple[datetime, datetime] | None:
        """The first and the last quarter that something was added to; None: nothing was."""
        slots = {key[0] for key in self._quarters}
        return (min(slots), max(slots)) if slots else None

    def tables(self) -> Iterator[tuple[Table, Rows]]:
        """Give the sums as they stand in each table."""
        latencies = {key: [calls] for key, calls in self._latencies.items()}
        traffic = together(self._quarters, _TRAFFIC_FROM_CALL)
        yield rollups_quarter, self._quarters
        yield rollups_hour, together(self._quarters, _hour_of_key)
        yield traffic_quarter, traffic
        yield traffic_hour, together(traffic, _hour_of_key)
        yield latencies_quarter, latencies
        yield latencies_hour, together(latencies, _hour_of_key)


def key_of(row: Row) -> Key:
    """Give the quarter and the dimensions of a call, given as its row in `records`."""
    model = UNKNOWN_MODEL if row["error"] == "model_not_found" and row["outcome"] == "rejected" else row["model"]
    return (
        quarter_of(row["at"]), row["user"], row["key"], model, row["endpoint"], row["stream"], row["outcome"],
        row["upstream"] or "",
    )  # fmt: skip


def differing(expected: Rows, found: Rows) -> Iterable[tuple[Key, int, int, int]]:
    """Tell where two sets of rows differ, as (key, number of the column, *expected* has, *found* has)."""
    for key in expected.keys() | found.keys():
        mine, theirs = _row(expected, found, key), _row(found, expected, key)
        for number in range(len(mine)):
            if mine[number] != theirs[number]:
                yield key, number, mine[number], theirs[number]


def _row(rows: Rows, others: Rows, key: Key) -> Sequence[int]:
    """Give a row, or zeros; costs are laid out in one way, for the same sum can stand in many."""
    row = list(rows.get(key) or [0] * len(others[key]))
    if len(row) > _PICOS:
        row[_MICROS], row[_PICOS] = divmod(row[_MICROS] * MILLION + row[_PICOS], MILLION)
    return row


def _add_cost(sums: list[int], amount: int) -> None:
    micros, picos = divmod(amount, MILLION)
    sums[_MICROS] += micros
    sums[_PICOS] += picos


def together(rows: Rows, key_of: Callable[[Key], Key]) -> Rows:
    """Add up the rows that have the same *key_of*."""
    found: Rows = {}
    for key, sums in rows.items():
        mine = key_of(key)
        before = found.get(mine)
        found[mine] = list(sums) if before is None else list(map(add, before, sums))
    return found


def _hour_of_key(key: Key) -> Key:
    return (key[0].replace(minute=0), *key[1:])
