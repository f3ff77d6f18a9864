"""What the records say in sum: by model, and the newest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Numeric,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    select,
    type_coerce,
)

from llm_one_api.stores.ledger.engine import one_moment
from llm_one_api.stores.ledger.prices import UNPRICED
from llm_one_api.stores.ledger.rollup_tables import rollups_hour, rollups_quarter
from llm_one_api.stores.ledger.rows import to_record
from llm_one_api.stores.ledger.sums import HOUR, MILLION, QUARTER, UNKNOWN_MODEL, hour_of, quarter_of
from llm_one_api.stores.ledger.tables import DOLLAR, ledger_seq, records
from llm_one_api.values import FAILED, UsageRecord, Value

_r = records.c
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


class ModelStats(Value, frozen=True, kw_only=True):
    """One model's calls. Averages are over the calls where the figure is known; None: it is known of none."""

    model: str
    requests: int
    streams: int
    outcomes: dict[str, int]
    error_rate: float | None
    """Failed / (failed + success); None: there was neither."""
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    requests_with_tokens: int
    """Calls whose total is known."""
    avg_tokens: float | None
    duration: float
    """Seconds, of all calls together."""
    avg_duration: float | None
    avg_ttft: float | None
    cost: Decimal | None
    """USD, of the calls that have a cost; None: none has."""
    requests_priced: int
    requests_unpriced: int
    """Calls whose usage is known, and their cost is not."""


class Part(NamedTuple):
    """A stretch of time, and the table that tells what was in it."""

    table: Table
    since: datetime
    until: datetime


def summary(engine: Engine, since: datetime, until: datetime, key: str | None) -> list[ModelStats]:
    """Sum up by model what was admitted from *since* until before *until*, the busiest first.

    Whole hours and quarters are read as sums; what is left at both ends is read from the records. Where those are
    deleted, the hour counts in which the end lies.
    """
    by_model: dict[str, list[Any]] = {}
    with one_moment(engine) as connection:
        for part in _parts(connection, since, until):
            asked = _asked(part, key, is_postgresql=engine.dialect.name == "postgresql")
            for row in connection.execute(asked).mappings():
                by_model.setdefault(row["model"], []).append(row)
    found = [_of_model(model, rows) for model, rows in by_model.items()]
    return sorted(found, key=lambda stats: (-stats.requests, stats.model))


def _parts(connection: Connection, since: datetime, until: datetime) -> Iterator[Part]:
    """Split the time into parts, each told by the coarsest table that tells it exactly."""
    deleted_before = connection.execute(select(ledger_seq.c.deleted_before)).scalar_one()
    first, last = hour_of(since), hour_of(until)
    begin = first if first == since else first + HOUR
    if begin > last:  # both ends lie in one hour
        yield from _in_hour(connection, since, until, deleted_before)
        return
    if since < begin:
        yield from _in_hour(connection, since, begin, deleted_before)
    yield Part(rollups_hour, begin, last)
    if last < until:
        yield from _in_hour(connection, last, until, deleted_before)


def _in_hour(
    connection: Connection, since: datetime, until: datetime, deleted_before: datetime | None
) -> Iterator[Part]:
    hour = hour_of(since)
    if deleted_before is not None and hour < deleted_before:
        yield Part(rollups_hour, hour, hour + HOUR)
        return
    quarter = quarter_of(since)
    begin, end = quarter if quarter == since else quarter + QUARTER, quarter_of(until)
    if begin >= end or not _has_quarters(connection, hour):
        yield Part(records, since, until)
        return
    yield from (Part(records, since, begin), Part(rollups_quarter, begin, end), Part(records, end, until))


def _has_quarters(connection: Connection, hour: datetime) -> bool:
    """Tell whether the quarters of an hour are all there.

    They are deleted sooner than the hour and, as a rule, its records; a late call brings a part of them back.
    """
    calls = [
        connection.execute(
            select(func.coalesce(func.sum(table.c.requests), 0)).where(table.c.slot >= hour, table.c.slot < hour + HOUR)
        ).scalar_one()
        for table in (rollups_hour, rollups_quarter)
    ]
    return bool(calls[0] == calls[1])


def _asked(part: Part, key: str | None, *, is_postgresql: bool) -> Select[Any]:
    """Sum up a part by model and outcome."""
    columns = part.table.c
    if part.table is records:
        time, sums = columns.at, _of_records(is_postgresql=is_postgresql)
    else:
        time, sums = columns.slot, _of_sums(columns)
    asked = select(*sums).where(time >= part.since, time < part.until).group_by(sums[0], columns.outcome)
    return asked if key is None else asked.where(columns.key == key)


_SUMMED = (
    *_TOKENS, "with_tokens", "duration_us", "with_duration", "ttft_us",
    "with_ttft", "cost_micros", "cost_picos", "priced", "unpriced",
)  # fmt: skip


def _of_sums(columns: Any) -> list[ColumnElement[Any]]:
    return [
        columns.model,
        columns.outcome,
        func.sum(columns.requests).label("requests"),
        func.sum(case((columns.stream, columns.requests), else_=0)).label("streams"),
        *[func.sum(columns[name]).label(name) for name in _SUMMED],
    ]


def _microseconds(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.round(seconds * MILLION), BigInteger)


_no_model = and_(_r.outcome == "rejected", _r.error == "model_not_found")


def _of_records(*, is_postgresql: bool) -> list[ColumnElement[Any]]:
    micros: Any
    picos: Any
    if is_postgresql:
        dollars = type_coerce(_r.cost, Numeric)
        micros, picos = func.trunc(dollars * MILLION), func.mod(dollars * DOLLAR, MILLION)
    else:
        units = type_coerce(_r.cost, BigInteger)
        micros, picos = units // MILLION, units % MILLION
    return [
        case((_no_model, UNKNOWN_MODEL), else_=_r.model).label("model"),
        _r.outcome,
        func.count().label("requests"),
        func.sum(case((_r.stream, 1), else_=0)).label("streams"),
        *[func.coalesce(func.sum(_r[name]), 0).label(name) for name in _TOKENS],
        func.count(_r.total_tokens).label("with_tokens"),
        func.coalesce(func.sum(_microseconds(_r.duration)), 0).label("duration_us"),
        func.count(_r.duration).label("with_duration"),
        func.coalesce(func.sum(_microseconds(_r.ttft)), 0).label("ttft_us"),
        func.count(_r.ttft).label("with_ttft"),
        func.coalesce(func.sum(micros), 0).label("cost_micros"),
        func.coalesce(func.sum(picos), 0).label("cost_picos"),
        func.count(_r.cost).label("priced"),
        func.sum(case((UNPRICED, 1), else_=0)).label("unpriced"),
    ]


def _of_model(model: str, rows: Sequence[Any]) -> ModelStats:
    def total(name: str) -> int:
        return sum(int(row[name]) for row in rows)

    def mean(name: str, of: str, unit: int, places: int) -> float | None:
        count = total(of)
        return round(total(name) / unit / count, places) if count else None

    outcomes: dict[str, int] = {}
    for row in rows:
        outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + int(row["requests"])
    failed = sum(count for outcome, count in outcomes.items() if outcome in FAILED)
    judged = failed + outcomes.get("success", 0)
    cost = Decimal(total("cost_micros") * MILLION + total("cost_picos")).scaleb(-12)
    return ModelStats(
        model=model,
        requests=total("requests"),
        streams=total("streams"),
        outcomes=dict(sorted(outcomes.items())),
        error_rate=round(failed / judged, 6) if judged else None,
        prompt_tokens=total("prompt_tokens"),
        completion_tokens=total("completion_tokens"),
        total_tokens=total("total_tokens"),
        requests_with_tokens=total("with_tokens"),
        avg_tokens=mean("total_tokens", "with_tokens", 1, 3),
        duration=total("duration_us") / MILLION,
        avg_duration=mean("duration_us", "with_duration", MILLION, 6),
        avg_ttft=mean("ttft_us", "with_ttft", MILLION, 6),
        cost=cost if total("priced") else None,
        requests_priced=total("priced"),
        requests_unpriced=total("unpriced"),
    )


def newest(engine: Engine, limit: int, key: str | None, model: str | None) -> list[UsageRecord]:
    """Give the records of the calls that were admitted last, the newest first."""
    asked = select(records).order_by(_r.at.desc(), _r.seq.desc()).limit(limit)
    if key is not None:
        asked = asked.where(_r.key == key)
    if model is not None:
        asked = asked.where(_r.model == model)
    with engine.connect() as connection:
        return [to_record(row) for row in connection.execute(asked)]
