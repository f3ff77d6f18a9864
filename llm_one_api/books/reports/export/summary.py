"""`stats_YYYYMMDD.json`: a day by model and by user, each as the plugin `memory` tells it, with what it does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.jobs import Period
from llm_one_api.plugins.summary import Figures
from llm_one_api.reporting.sheet import plain
from llm_one_api.stores.ledger.analysis import Row, Sums


def file_name(day: date) -> str:
    """Name the summary of a day, as the founding document does."""
    return f"stats_{day:%Y%m%d}.json"


def encode(day: date, period: Period, zone: ZoneInfo, rows: Sequence[Row]) -> bytes:
    """Write it, of sums by model and user."""
    by_user: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_user[str(row.group["user"])].append(row)
    total = together(row.sums for row in rows)
    summary = {
        "day": day,
        "timezone": zone.key,
        "since": period.start.astimezone(zone),
        "until": period.end.astimezone(zone),
        "total_requests": total.requests,
        "total": _plain(total),
        "models": _by_model(rows),
        "users": {
            user: {**_plain(together(row.sums for row in mine)), "models": _by_model(mine)}
            for user, mine in sorted(by_user.items(), key=lambda item: _busiest(item[0], [row.sums for row in item[1]]))
        },
    }
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def together(parts: Iterable[Sums]) -> Sums:
    """Add sums up."""
    figures: dict[str, Any] = defaultdict(int)
    outcomes: dict[str, int] = defaultdict(int)
    cost: Decimal | None = None
    for part in parts:
        fields = msgspec.structs.asdict(part)
        for outcome, calls in fields.pop("outcomes").items():
            outcomes[outcome] += calls
        more = fields.pop("cost")
        if more is not None:
            cost = more if cost is None else cost + more
        for name, figure in fields.items():
            figures[name] += figure
    return Sums(**figures, outcomes=dict(outcomes), cost=cost)


def _by_model(rows: Sequence[Row]) -> dict[str, Any]:
    models: dict[str, list[Sums]] = defaultdict(list)
    for row in rows:
        models[str(row.group["model"])].append(row.sums)
    ordered = sorted(models.items(), key=lambda item: _busiest(*item))
    return {model: _plain(together(parts)) for model, parts in ordered}


def _busiest(name: str, parts: Sequence[Sums]) -> tuple[int, str]:
    """Put those with the most calls first."""
    return -sum(part.requests for part in parts), name


def _plain(sums: Sums) -> Mapping[str, Any]:
    """Lay sums out: first the fields of the plugin `memory`, where unknown is null, then more."""
    figures = Figures(
        requests=sums.requests,
        prompt_tokens=sums.prompt_tokens if sums.with_prompt_tokens else None,
        completion_tokens=sums.completion_tokens if sums.with_completion_tokens else None,
        total_tokens=sums.total_tokens if sums.with_tokens else None,
        total_known=sums.with_tokens,
        duration_us=sums.duration_us if sums.with_duration else None,
        duration_known=sums.with_duration,
    )
    return {
        **figures.plain(),
        "streams": sums.streams,
        "outcomes": dict(sorted(sums.outcomes.items())),
        "failed": sums.failed,
        "error_rate": sums.error_rate,
        "cost": None if sums.cost is None else plain(sums.cost),
        "unpriced": sums.unpriced,
    }
