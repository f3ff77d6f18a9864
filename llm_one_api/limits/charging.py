"""What a call that has ended is charged to its quota windows: pure, so that relay, ingest and check say the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from llm_one_api.limits.money import nanos_of
from llm_one_api.values import Outcome, Permit, Usage, UsageRecord, Value

MOST = 2**50
"""No charge and no reservation is more: a figure that says so is wrong, and Lua could not tell it from the next."""
UNANSWERED: frozenset[Outcome] = frozenset({"client_error", "upstream_error", "rejected"})
"""The outcomes of calls that used nothing, unless they tell a usage."""

Price = Callable[[UsageRecord], UsageRecord]
"""Put its cost on a record, or give it as it is. The same for the same record."""


class Charge(Value, frozen=True, kw_only=True):
    """What one call takes from each of its windows: one request, and these."""

    id: str
    """The call's request id."""
    windows: tuple[str, ...]
    tokens: int = 0
    nanos: int = 0
    """1e-9 USD, rounded up; 0: it is free, or no price is known."""


class Booking(Value, frozen=True, kw_only=True):
    """A charge whose record is in the ledger."""

    charge: Charge
    seq: int
    """The record's place there."""
    new: bool
    """Whether it came there just now; False: it was there, and came again."""


def tokens_of(outcome: Outcome, usage: Usage, permit: Permit) -> int:
    """Tell how many tokens a call is charged that *permit* was given to: those it used, so far as that is known.

    What nobody knows of its input is charged as it was estimated, unless no upstream answered and nothing is told.
    """
    if usage.total_tokens is not None:
        return usage.total_tokens
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None and completion is None and outcome in UNANSWERED:
        return 0
    return (permit.input_tokens if prompt is None else prompt) + (completion or 0)


def with_cost(record: UsageRecord, price: Price) -> UsageRecord:
    """Put on *record* what it costs and, if it is charged to windows, the cost that these are charged.

    That is the call's own cost, where it is known; else what its `quota_tokens` cost as input. None: no price is known.
    """
    priced = price(record)
    if not priced.quota_windows or priced.quota_cost is not None:
        return priced
    charged = priced.cost
    if charged is None and priced.quota_tokens is not None:
        charged = price(_as_input(priced, priced.quota_tokens)).cost
    return priced if charged is None else msgspec.structs.replace(priced, quota_cost=charged)


def charge_of(record: UsageRecord) -> Charge | None:
    """Give the charge of a record that has its cost; None: it is charged to no window."""
    if not record.quota_windows:
        return None
    cost = record.quota_cost
    return Charge(
        id=record.request_id,
        windows=record.quota_windows,
        tokens=min(max(0, record.quota_tokens or 0), MOST),
        nanos=min(max(0, nanos_of(cost)), MOST) if cost is not None and cost.is_finite() else 0,
    )


def _as_input(record: UsageRecord, tokens: int) -> UsageRecord:
    """Make a record of the same call as if it had had *tokens* as its input and no output."""
    return msgspec.structs.replace(
        record,
        usage=Usage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens),
        usage_source="estimated",
        usage_raw=None,
        usage_faults=(),
    )
