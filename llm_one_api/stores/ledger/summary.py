"""What the records say in sum: by model, and the newest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, case, func, select, type_coerce

from llm_one_api.stores.ledger.prices import UNPRICED
from llm_one_api.stores.ledger.rows import to_record
from llm_one_api.stores.ledger.tables import records
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


def summary(engine: Engine, since: datetime, until: datetime, key: str | None) -> list[ModelStats]:
    """Sum up by model what was admitted from *since* until before *until*, the busiest first."""
    asked = (
        select(
            _r.model,
            _r.outcome,
            func.count().label("requests"),
            func.sum(case((_r.stream, 1), else_=0)).label("streams"),
            *[func.coalesce(func.sum(_r[name]), 0).label(name) for name in _TOKENS],
            func.count(_r.total_tokens).label("with_tokens"),
            func.coalesce(func.sum(_r.duration), 0.0).label("duration"),
            func.count(_r.duration).label("with_duration"),
            func.coalesce(func.sum(_r.ttft), 0.0).label("ttft"),
            func.count(_r.ttft).label("with_ttft"),
            *_costs(engine),
            func.count(_r.cost).label("priced"),
            func.sum(case((UNPRICED, 1), else_=0)).label("unpriced"),
        )
        .where(_r.at >= since, _r.at < until)
        .group_by(_r.model, _r.outcome)
    )
    if key is not None:
        asked = asked.where(_r.key == key)
    with engine.connect() as connection:
        rows = connection.execute(asked).mappings().all()
    by_model: dict[str, list[Any]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    found = [_of_model(model, rows) for model, rows in by_model.items()]
    return sorted(found, key=lambda stats: (-stats.requests, stats.model))


_MILLION = 10**6


def _costs(engine: Engine) -> list[ColumnElement[Any]]:
    """Sum up costs. SQLite's are whole numbers, whose sums could outgrow it: high and low digits are summed apart."""
    if engine.dialect.name == "postgresql":
        return [func.coalesce(func.sum(_r.cost), 0).label("cost")]
    units = type_coerce(_r.cost, BigInteger)
    return [
        func.coalesce(func.sum(units // _MILLION), 0).label("cost_high"),
        func.coalesce(func.sum(units % _MILLION), 0).label("cost_low"),
    ]


def _cost(row: Any) -> Decimal:
    if "cost" in row:
        return Decimal(row["cost"])
    return Decimal(row["cost_high"] * _MILLION + row["cost_low"]).scaleb(-12)


def _of_model(model: str, rows: Sequence[Any]) -> ModelStats:
    def total(name: str) -> Any:
        return sum(row[name] for row in rows)

    outcomes = {row["outcome"]: int(row["requests"]) for row in rows}
    failed = sum(count for outcome, count in outcomes.items() if outcome in FAILED)
    judged = failed + outcomes.get("success", 0)
    with_tokens, with_duration, with_ttft = total("with_tokens"), total("with_duration"), total("with_ttft")
    return ModelStats(
        model=model,
        requests=int(total("requests")),
        streams=int(total("streams")),
        outcomes=dict(sorted(outcomes.items())),
        error_rate=round(failed / judged, 6) if judged else None,
        prompt_tokens=int(total("prompt_tokens")),
        completion_tokens=int(total("completion_tokens")),
        total_tokens=int(total("total_tokens")),
        requests_with_tokens=int(with_tokens),
        avg_tokens=round(int(total("total_tokens")) / with_tokens, 3) if with_tokens else None,
        duration=round(float(total("duration")), 6),
        avg_duration=round(float(total("duration")) / with_duration, 6) if with_duration else None,
        avg_ttft=round(float(total("ttft")) / with_ttft, 6) if with_ttft else None,
        cost=sum(map(_cost, rows), Decimal(0)) if total("priced") else None,
        requests_priced=int(total("priced")),
        requests_unpriced=int(total("unpriced")),
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
