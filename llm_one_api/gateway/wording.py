"""What callers are told who have reached a limit."""

from __future__ import annotations

from typing import Literal

from llm_one_api.gateway.plans import Limit
from llm_one_api.limits.money import plain
from llm_one_api.limits.rules import Period, Unit

_RATES = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}
_SPANS: dict[Period, str] = {"day": "a day", "month": "a month", "total": "in all"}


def whom(scope: str) -> str:
    """Say for whom a limit is: `user alice`, `all calls together`."""
    kind, _, name = scope.partition(":")
    return f"{kind} {name}" if name else "all calls together"


def rate(limit: Limit, of: Literal["requests", "tokens"], used: int, asked: int, seconds: float) -> str:
    """Say that the last minute was used up."""
    return (
        f"Rate limit reached for {whom(limit.scope)} on {_RATES[of]}: Limit {limit.limit}, Used {used}, "
        f"Requested {asked}. Please try again in {seconds:.3g}s."
    )


def rate_without_store(limit: Limit, of: str, seconds: float) -> str:
    """Say that this process's share of the last minute was used up."""
    return (
        f"Rate limit reached for {whom(limit.scope)} on {_RATES[of]}: Limit {limit.limit}. "
        f"Please try again in {seconds:.3g}s."
    )


def too_large(limit: Limit, asked: int) -> str:
    """Say that no minute has room for the call."""
    return (
        f"Request too large for {whom(limit.scope)} on {_RATES['tokens']}: Limit {limit.limit}, Requested {asked}. "
        "The input or output tokens must be reduced in order to run successfully."
    )


def concurrent(limit: Limit) -> str:
    """Say that enough calls are under way."""
    return (
        f"Rate limit reached for {whom(limit.scope)} on concurrent requests: Limit {limit.limit}. "
        "Please try again when one of them has ended."
    )


def throttled(scope: str, period: Period, to: int, seconds: float) -> str:
    """Say that a quota is used up, and that the few requests that are left of it are, too."""
    return (
        f"The limit of {whom(scope)} {_SPANS[period]} is used up, so that its rate is limited: Limit {to} requests per "
        f"min. Please try again in {seconds:.3g}s."
    )


def quota(
    scope: str, period: Period, unit: Unit, *, limit: int, used: int, held: int, asked: int, ends: str | None
) -> str:
    """Say that a quota has no room for the call, and when it has again."""
    what = {"tokens": "tokens", "requests": "requests", "cost": "USD"}[unit]
    resets = f" It resets at {ends}." if ends else " It does not reset by itself."
    return (
        f"You exceeded your current quota: {whom(scope)} may use {plain(limit, unit)} {what} {_SPANS[period]}; "
        f"{plain(used, unit)} are used, {plain(held, unit)} are reserved by calls under way, and this call may "
        f"need {plain(asked, unit)}.{resets}"
    )


def unpriced(scope: str, model: str) -> str:
    """Say that nobody knows what the call costs."""
    return (
        f"The cost of {whom(scope)} is limited, and no price is known for what `{model[:200]}` would be asked. "
        "The operator has to set one (`llm-one-api prices missing` lists them)."
    )
