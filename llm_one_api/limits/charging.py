"""What a finished call is charged, to each quota window of its permit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal

import msgspec

from llm_one_api.values import Outcome, Permit, Usage, UsageRecord, Value

NANOS = Decimal(10**9)
_UNANSWERED: frozenset[Outcome] = frozenset({"client_error", "upstream_error", "rejected"})
"""The outcomes of calls that used nothing, unless they tell a usage."""

Price = Callable[[UsageRecord], UsageRecord]
"""Put its cost on a record, or give it as it is."""


class Charge(Value, frozen=True, kw_only=True):
    """What one call is charged; it is one request besides."""

    id: str
    windows: tuple[str, ...]
    tokens: int = 0
    nanos: int = 0
    """1e-9 USD."""


class Booking(Value, frozen=True, kw_only=True):
    """A charge that the ledger has."""

    charge: Charge
    seq: int
    """The record's place in the ledger."""
    new: bool
    """Whether it was not there before."""


def tokens_of(outcome: Outcome, usage: Usage, permit: Permit) -> int:
    """Tell how many tokens a call is charged: what it used, and where nobody knows that, the estimate of its input."""
    if usage.total_tokens is not None:
        return usage.total_tokens
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        return (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    return 0 if outcome in _UNANSWERED else permit.input_tokens


def nanos_of(cost: Decimal | None) -> int:
    """Give a cost in 1e-9 USD, rounded up; 0: none is known."""
    return 0 if cost is None else int((cost * NANOS).to_integral_value(ROUND_CEILING))


def with_cost(record: UsageRecord, price: Price) -> UsageRecord:
    """Put its cost on a record, and what of it its quotas are charged.

    Where no usage is known that could be priced, that is the price of the tokens that they are charged.
    """
    record = price(record)
    if not record.quota_windows or record.quota_cost is not None:
        return record
    cost = record.cost
    if cost is None and record.quota_tokens and record.usage_source == "none":
        assumed = Usage(prompt_tokens=record.quota_tokens, completion_tokens=0, total_tokens=record.quota_tokens)
        cost = price(msgspec.structs.replace(record, usage=assumed, usage_source="estimated", usage_raw=None)).cost
    elif cost is None and record.quota_tokens == 0:
        cost = Decimal(0)
    return record if cost is None else msgspec.structs.replace(record, quota_cost=cost)


def charge_of(record: UsageRecord) -> Charge | None:
    """Tell what a record's call is charged; None: no quota holds for it."""
    if not record.quota_windows:
        return None
    return Charge(
        id=record.request_id,
        windows=record.quota_windows,
        tokens=record.quota_tokens or 0,
        nanos=nanos_of(record.quota_cost),
    )
