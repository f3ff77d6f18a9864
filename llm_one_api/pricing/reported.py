"""What providers say themselves that a call cost, in the usage object of the answer.

    OpenRouter   `cost`, in USD; with a key of the caller's own (`is_byok`), `cost` is OpenRouter's fee alone, and
                 `cost_details.upstream_inference_cost` is what the other provider charges beside it
    Perplexity   `cost.total_cost`, in `cost.currency`
    xAI          `cost_in_usd_ticks`, of which 10^10 are a USD

Another is a line here. What is told in another currency, or cannot be a cost, is not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from llm_one_api.pricing.rates import MOST, money

_TICKS_IN_A_DOLLAR = 10**10


def reported_cost(raw: Mapping[str, Any] | None) -> Decimal | None:
    """Give the cost in USD that the usage object *raw* tells; None: it tells none."""
    if not raw or not ("cost" in raw or "cost_in_usd_ticks" in raw):  # nearly always
        return None
    ticks = _amount(raw.get("cost_in_usd_ticks"), most=int(MOST) * _TICKS_IN_A_DOLLAR)
    cost = raw.get("cost")
    if ticks is not None:
        return money(ticks / _TICKS_IN_A_DOLLAR)
    if isinstance(cost, Mapping):
        return _rounded(_amount(cost.get("total_cost")) if cost.get("currency", "USD") == "USD" else None)
    return _rounded(_with_the_others(_amount(cost), raw))


def _with_the_others(charged: Fraction | None, raw: Mapping[str, Any]) -> Fraction | None:
    """Add what another provider charges beside OpenRouter, where it does."""
    details = raw.get("cost_details")
    beside = _amount(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    with_own_key = raw.get("is_byok")
    if charged is None or not (with_own_key is True or (with_own_key is None and not charged and beside)):
        return charged
    return None if beside is None else charged + beside


def _amount(value: Any, most: int = int(MOST)) -> Fraction | None:
    """Read a number as it was written; None: it is none, or no amount that can be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < most:
        return None
    return Fraction(repr(value))


def _rounded(amount: Fraction | None) -> Decimal | None:
    return None if amount is None else money(amount)
