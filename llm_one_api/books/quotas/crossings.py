"""The limits of which most, or all, is used: announced once a window."""

from __future__ import annotations

from collections.abc import Iterator

from llm_one_api.limits import windows
from llm_one_api.limits.money import plain
from llm_one_api.limits.rules import NO_LIMITS, UNITS, Kind, LimitSet, Period, Rules, Unit
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.quotas import Crossing, Quotas, Standing
from llm_one_api.values import Value

PERCENTS = (80, 100)
_LATE = 3600.0
"""Seconds after its end in which a window is still looked at: a day's last calls come to the ledger on the next."""


class Crossed(Value, frozen=True, kw_only=True):
    """A limit of which so much is used."""

    crossing: Crossing
    used: str
    limit: str
    """With what is added to it for a time. Of a cost: USD."""


class QuotaUse(Value, frozen=True, kw_only=True):
    """What is booked of one quota. Amounts are tokens, requests, or 1e-9 USD."""

    scope: str
    window: str
    period: Period
    unit: Unit
    used: int
    limit: int
    """With what is added to it for a time."""


def crossed(quotas: Quotas, rules: Rules, calendar: Calendar, now: float) -> list[Crossed]:
    """Give what was crossed and nobody was told yet: to one of those who ask only."""
    found = {each.crossing: each for use in standings(quotas, rules, calendar, now, late=_LATE) for each in _over(use)}
    return [found[crossing] for crossing in quotas.take_note(list(found))]


def standings(quotas: Quotas, rules: Rules, calendar: Calendar, now: float, *, late: float = 0.0) -> Iterator[QuotaUse]:
    """Tell how the quotas stand of which something is booked, in windows that are open, or were *late* seconds ago."""
    booked = quotas.standing(
        {
            f"{period}:{calendar.at(period, at).label}"
            for period in ("day", "month", "total")
            for at in {now - late, now}
        }
    )
    return _uses(booked, rules, now)


def limits_of(rules: Rules, scope: str) -> LimitSet:
    """Give the limits of a scope, such as `user:alice`."""
    found, _, name = scope.partition(":")
    for kind in ("key", "user", "group", "model", "all"):
        if kind == found and not _is_exempt(rules, kind, name):
            return rules.named.get(kind, {}).get(name) or rules.each.get(kind) or NO_LIMITS
    return NO_LIMITS


def _is_exempt(rules: Rules, kind: Kind, name: str) -> bool:
    return name in {"key": rules.exempt_keys, "user": rules.exempt_users}.get(kind, ())


def _uses(standing: Standing, rules: Rules, now: float) -> Iterator[QuotaUse]:
    for window, booked in sorted(standing.booked.items()):
        scope, period, _ = windows.parts(window)
        amounts = limits_of(rules, scope).amounts(period)
        if not amounts.are_limits:
            continue
        for unit, used in zip(UNITS, booked, strict=True):
            limit = amounts.counted(unit)
            if limit is None:
                continue
            boost = standing.boosts.get(f"{scope}:{period}:{unit}")
            if boost is not None and boost.until_ms > now * 1000:
                limit += boost.amount
            yield QuotaUse(scope=scope, window=window, period=period, unit=unit, used=used, limit=limit)


def _over(use: QuotaUse) -> Iterator[Crossed]:
    for percent in PERCENTS:
        if use.used > 0 and use.used * 100 >= use.limit * percent:
            yield Crossed(
                crossing=Crossing(window=use.window, unit=use.unit, percent=percent),
                used=plain(use.used, use.unit),
                limit=plain(use.limit, use.unit),
            )
