"""FOCUS 1.2 (FinOps Open Cost and Usage Specification, focus.finops.org) as CSV: a charge a row.

A charge is a call that has a cost. One whose cost is unknown is none yet: a column such as BilledCost must not be
empty, and must not lie. All columns that version 1.2 calls mandatory are there, those of its others that we can tell,
and ours with `x_` in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.export.formats.format import Sink
from llm_one_api.reporting.sheet import Cell, line
from llm_one_api.values import UsageRecord

VERSION = "1.2"
UNKNOWN = "unknown"
"""Who provided a call that reached no upstream and has a cost all the same."""

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName",
    "Tags",
    "x_AudioSeconds", "x_CacheReadTokens", "x_CacheWriteTokens", "x_CompletionTokens", "x_EndUser", "x_Endpoint",
    "x_Group", "x_Model", "x_Outcome", "x_PriceDate", "x_PriceSource", "x_PromptTokens", "x_ReasoningTokens",
    "x_RequestId", "x_ServiceTier", "x_Stream", "x_TotalTokens", "x_UsageSource",
)  # fmt: skip
_json = msgspec.json.Encoder()
_SECOND = timedelta(seconds=1)


class Focus:
    """Writes a row for each call that has a cost."""

    def __init__(self, sink: Sink, zone: ZoneInfo) -> None:
        """Write the head."""
        self._sink, self._zone = sink, zone
        self.rows = 0
        sink.write(line(COLUMNS).encode())

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some."""
        lines = [line(_cells(call, self._zone)) for call in calls if call.cost is not None]
        self._sink.write("".join(lines).encode())
        self.rows += len(lines)

    def end(self) -> None:
        """Write nothing."""


def _cells(call: UsageRecord, zone: ZoneInfo) -> list[Cell]:
    usage = call.usage
    provider = call.upstream or UNKNOWN
    sku = call.response_model or call.upstream_model or call.model
    tokens = usage.total_tokens
    quantity, unit = (1, "Requests") if tokens is None else (tokens, "Tokens")
    begin = call.at.astimezone(UTC).replace(microsecond=0)
    end = begin + max(1, math.ceil((call.at - begin).total_seconds() + (call.duration or 0))) * _SECOND
    local = call.at.astimezone(zone)
    month, following = _month(local.year, local.month, zone)
    cost = call.cost
    written = None
    if usage.cache_write_5m_tokens is not None or usage.cache_write_1h_tokens is not None:
        written = (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)
    return [
        cost, provider, provider, "USD", following,
        month, "Usage", None, f"{call.endpoint} call to {sku}", "Usage-Based", _utc(end),
        _utc(begin), quantity, unit, cost, cost, provider,
        cost, "Standard", quantity, unit, provider, provider,
        "AI and Machine Learning", f"{call.endpoint}", "Generative AI", sku,
        f"{sku}/{call.service_tier}" if call.service_tier else sku, call.key, call.user,
        _json.encode(dict.fromkeys(call.tags, True)).decode() if call.tags else None,
        usage.audio_seconds, usage.cache_read_tokens, written, usage.completion_tokens, call.end_user, call.endpoint,
        call.group, call.model, call.outcome, call.price_date, call.price_source, usage.prompt_tokens,
        usage.reasoning_tokens, call.request_id, call.service_tier, call.stream, usage.total_tokens, call.usage_source,
    ]  # fmt: skip


def _utc(at: datetime) -> str:
    """Write a time as the specification wants it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=16)
def _month(year: int, month: int, zone: ZoneInfo) -> tuple[str, str]:
    """Tell when a month of the zone begins, and when the next one does."""
    following = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004 (December)
    begins = [datetime(*each, 1, tzinfo=zone).astimezone(UTC) for each in ((year, month), following)]
    return _utc(begins[0]), _utc(begins[1])
