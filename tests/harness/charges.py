"""Calls that are charged to quotas, and what the ledger and the limit store say of them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.limits.charging import charge_of
from llm_one_api.limits.rules import Rules
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Amount
from llm_one_api.values import UsageRecord
from tests.harness.records import AT, record

DAY = "user:alice:day:2025-11-12"
MONTH = "user:alice:month:2025-11"
TOTAL = "all:total:ever"
WINDOWS = (DAY, MONTH, TOTAL)


def charged(number: int = 1, **changes: Any) -> UsageRecord:
    """Make a call of 170 tokens and 0.000315 USD that is charged to a day, a month and all time."""
    return record(
        number, **{"quota_windows": WINDOWS, "quota_tokens": 170, "quota_cost": Decimal("0.000315"), **changes}
    )


def times(count: int) -> Amount:
    """Tell what so many of them come to."""
    return Amount(170 * count, count, 315_000 * count)


def settle(store: LimitStore, *calls: UsageRecord, segment: str = "s", at: int = 0) -> None:
    """Charge ended calls, as the relay does; in *segment* they end after place *at*."""
    charges = [(at + n, charge) for n, call in enumerate(calls, 1) if (charge := charge_of(call)) is not None]
    store.settle(segment, charges)


def booked(store: LimitStore) -> dict[str, Amount]:
    """Tell what the limit store says is booked."""
    return {window: counts.booked for window, counts in store.windows(WINDOWS).items()}


def pending(store: LimitStore) -> set[str]:
    """Tell which calls are settled and not booked."""
    return {name for page in store.pending() for name in page}


def check_of(
    ledger: Ledger, store: LimitStore, rules: Rules | None = None, wait: Callable[[float], None] = lambda _: None
) -> QuotaCheck:
    """Make a quota check that lives at the time of the example call."""
    zone = ZoneInfo("UTC")
    return QuotaCheck(ledger.quotas, store, rules or Rules(), zone, wait=wait, clock=AT.timestamp)
