"""How limits stand: what is used of each, and what is left. For pages and tables; no call waits for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from llm_one_api.limits import windows
from llm_one_api.limits.money import plain
from llm_one_api.limits.rules import PERIODS, UNITS, Action, LimitSet, Period, Unit
from llm_one_api.limits.windows import Calendar, Window
from llm_one_api.stores.limits.messages import Boost, Counts, State, Used
from llm_one_api.values import Value

Sets = Sequence[tuple[str, LimitSet]]
"""Sets of limits, each with its scope."""
_MINUTES: tuple[tuple[Literal["requests", "tokens"], str, str], ...] = (
    ("requests", "requests_per_minute", "rpm"),
    ("tokens", "tokens_per_minute", "tpm"),
)


class Reader(Protocol):
    """What is needed of the limit store."""

    def windows(self, names: Sequence[str]) -> dict[str, Counts]:
        """Tell what windows hold."""

    def minutes(self, which: Sequence[tuple[str, str]]) -> list[Used]:
        """Tell what minutes were used for, by scope and kind."""

    def places(self, scopes: Sequence[str]) -> list[int]:
        """Count the calls under way of scopes."""

    def boosts(self) -> dict[str, Boost]:
        """Give the boosts by `{scope}:{period}:{unit}`."""

    def state(self) -> State | None:
        """Tell about the counters; None: they are not whole."""


class Limit(Value, frozen=True, kw_only=True):
    """How one limit stands. Amounts are tokens, requests, calls at a time, or 1e-9 USD."""

    scope: str
    kind: Unit | Literal["concurrent"]
    period: Period | Literal["minute"] | None
    """None: it is no limit of a time."""
    window: str | None = None
    """The quota window that it is counted in; None: it is no quota."""
    limit: int
    """With the boost."""
    used: int
    reserved: int = 0
    """By calls under way."""
    resets_at: float | None = None
    """Seconds since 1970. None: never."""
    boost: Boost | None = None
    """What is added to it for a time, now."""
    action: Action

    @property
    def remaining(self) -> int:
        """Tell what is left."""
        return max(0, self.limit - self.used - self.reserved)


class Overview(Value, frozen=True, kw_only=True):
    """How some limits stand."""

    limits: tuple[Limit, ...]
    whole: bool
    """Whether the counters of quotas can be relied on; else they are being counted anew."""


def look(store: Reader, sets: Sets, calendar: Calendar, now: float) -> Overview:
    """Tell how all limits of *sets* stand at *now* (seconds since 1970). Raises what the store raises."""
    quotas = [(scope, one, period) for scope, one in sets for period in PERIODS if one.amounts(period).are_limits]
    spans = {period: calendar.at(period, now) for _, _, period in quotas}
    names = [windows.name(scope, period, spans[period].label) for scope, _, period in quotas]
    counts = store.windows(names) if names else {}
    boosts = {name: boost for name, boost in store.boosts().items() if boost.until_ms > now * 1000} if names else {}
    found = [*_rates(store, sets, now)]
    for (scope, one, period), name in zip(quotas, names, strict=True):
        found += _quotas(scope, one, period, spans[period], name, counts[name], boosts)
    return Overview(limits=tuple(found), whole=not names or store.state() is not None)


def _rates(store: Reader, sets: Sets, now: float) -> Iterator[Limit]:
    minutes = [
        (scope, one, kind, limit, short)
        for scope, one in sets
        for kind, name, short in _MINUTES
        if (limit := getattr(one, name)) is not None
    ]
    used = store.minutes([(scope, short) for scope, _, _, _, short in minutes]) if minutes else []
    for (scope, one, kind, limit, _), told in zip(minutes, used, strict=True):
        yield Limit(
            scope=scope,
            kind=kind,
            period="minute",
            limit=limit,
            used=told.used,
            resets_at=now + told.reset_ms / 1000,
            action=one.action,
        )
    places = [(scope, one, one.max_concurrent) for scope, one in sets if one.max_concurrent is not None]
    taken = store.places([scope for scope, _, _ in places]) if places else []
    for (scope, one, limit), count in zip(places, taken, strict=True):
        yield Limit(scope=scope, kind="concurrent", period=None, limit=limit, used=count, action=one.action)


def _quotas(
    scope: str, one: LimitSet, period: Period, span: Window, window: str, counts: Counts, boosts: dict[str, Boost]
) -> Iterator[Limit]:
    for unit in UNITS:
        limit = one.amounts(period).counted(unit)
        if limit is None:
            continue
        n = UNITS.index(unit)
        boost = boosts.get(f"{scope}:{period}:{unit}")
        yield Limit(
            scope=scope,
            kind=unit,
            period=period,
            window=window,
            limit=limit + (boost.amount if boost else 0),
            used=counts.booked[n] + counts.pending[n],
            reserved=counts.held[n],
            resets_at=span.end,
            boost=boost,
            action=one.action,
        )


def laid_out(limit: Limit, zone: ZoneInfo, now: float) -> dict[str, Any]:
    """Lay a limit out as JSON; USD are texts, as in the statistics, so that no reader rounds them."""

    def amount(number: int) -> int | str:
        return plain(number, "cost") if limit.kind == "cost" else number

    boost, resets_at = limit.boost, limit.resets_at
    return {
        "scope": limit.scope,
        "kind": "cost_usd" if limit.kind == "cost" else limit.kind,
        "period": limit.period,
        "limit": amount(limit.limit),
        "used": amount(limit.used),
        "reserved": amount(limit.reserved),
        "remaining": amount(limit.remaining),
        "resets_at": None if resets_at is None else local(resets_at, zone),
        "resets_in": None if resets_at is None else round(max(0.0, resets_at - now), 3),
        "boost": boost and {"amount": amount(boost.amount), "until": local(boost.until_ms / 1000, zone)},
        "action": limit.action,
    }


def local(at: float, zone: ZoneInfo) -> str:
    """Write a time (seconds since 1970) in *zone*, to the second, and not too early."""
    return datetime.fromtimestamp(math.ceil(at), UTC).astimezone(zone).isoformat()
