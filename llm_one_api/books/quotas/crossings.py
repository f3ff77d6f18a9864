"""The limits of which most, or all, is used: announced once a window."""

from __future__ import annotations

from collections.abc import Iterator

from llm_one_api.limits import windows
from llm_one_api.limits.money import plain
from llm_one_api.limits.rules import NO_LIMITS, UNITS, Kind, LimitSet, Rules
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


def crossed(quotas: Quotas, rules: Rules, calendar: Calendar, now: float) -> list[Crossed]:
    """Give what was crossed and nobody was told yet: to one of those who ask only."""
    found = {each.crossing: each for each in _found(_open(quotas, calendar, now), rules, now)}
    return [found[crossing] for crossing in quotas.take_note(list(found))]


def limits_of(rules: Rules, scope: str) -> LimitSet:
    """Give the limits of a scope, such as `user:alice`."""
    found, _, name = scope.partition(":")
    for kind in ("key", "user", "group", "model", "all"):
        if kind == found and not _is_exempt(rules, kind, name):
            return rules.named.get(kind, {}).get(name) or rules.each.get(kind) or NO_LIMITS
    return NO_LIMITS


def _is_exempt(rules: Rules, kind: Kind, name: str) -> bool:
    return name in {"key": rules.exempt_keys, "user": rules.exempt_users}.get(kind, ())


def _open(quotas: Quotas, calendar: Calendar, now: float) -> Standing:
    """Tell what is booked of the windows that are open, or were until lately."""
    return quotas.standing(
        {
            f"{period}:{calendar.at(period, at).label}"
            for period in ("day", "month", "total")
            for at in (now - _LATE, now)
        }
    )


def _found(standing: Standing, rules: Rules, now: float) -> Iterator[Crossed]:
    for window, booked in sorted(standing.booked.items()):
        scope, period, _ = windows.parts(window)
        amounts = limits_of(rules, scope).amounts(period)
        if not amounts.are_limits:
            continue
        for unit, used in zip(UNITS, booked, strict=True):
            limit = amounts.counted(unit)
            if limit is None or used <= 0:
                continue
            boost = standing.boosts.get(f"{scope}:{period}:{unit}")
            if boost is not None and boost.until_ms > now * 1000:
                limit += boost.amount
            for percent in PERCENTS:
                if used * 100 >= limit * percent:
                    yield Crossed(
                        crossing=Crossing(window=window, unit=unit, percent=percent),
                        used=plain(used, unit),
                        limit=plain(limit, unit),
                    )
