"""The order in which prices are asked for, and the record with its cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, tzinfo
from decimal import Decimal
from typing import Any

import msgspec

from llm_one_api.pricing.configured import Entry, PriceList
from llm_one_api.pricing.rates import Rates, cost_of
from llm_one_api.pricing.reported import reported_cost
from llm_one_api.pricing.table import Table, tiers_of
from llm_one_api.values import PriceSource, UsageRecord

_MOST_KEPT = 2000
NO_OUTPUT = frozenset({"embeddings", "moderations", "rerank", "count_tokens"})
"""Endpoints whose answers are no tokens."""

Found = tuple[Decimal, PriceSource, date]


class Pricer:
    """Puts its cost on a record: at the operator's price, else as the provider reports it, else at the public price.

    No I/O but the loading of the public prices, once, on need. Its answer depends on the record alone.
    """

    def __init__(
        self,
        prices: PriceList,
        zone: tzinfo,
        urls: Mapping[tuple[str, str], str] | None = None,
        table: Table | None = None,
    ) -> None:
        """Use the operator's *prices*, whose days are those of *zone*; *urls* tells where (model, upstream) is."""
        self._prices = prices
        self._zone = zone
        self._urls = urls or {}
        self._table = table or Table()
        self._entries: dict[tuple[str | None, str | None, str, date], Entry | None] = {}

    def price(self, record: UsageRecord) -> UsageRecord:
        """Give *record* with its cost, the price's source and its date; as it is, if it has a cost or none is known."""
        if record.cost is not None:
            return record
        found = self._find(record)
        if found is None:
            return record
        cost, source, day = found
        return msgspec.structs.replace(record, cost=cost, price_source=source, price_date=day)

    def _find(self, record: UsageRecord) -> Found | None:
        if record.usage_source == "none" and not record.usage_raw:
            return None
        day = record.at.astimezone(self._zone).date()
        known = record.usage_source != "none" and _is_sound(record)
        entry = self._entry(record, day) if known else None
        tiers = tiers_of(record.service_tier, record.usage_raw)
        tier = "+".join(tiers)
        if entry is not None:
            cost = _cost(record, entry.of_tier(tier))
            if cost is not None:
                return cost, "configured", entry.since or day
        told = reported_cost(record.usage_raw)
        if told is not None:
            return told, "reported", day
        # Who has a price of one's own for a model, but not for this call, does not pay the public one.
        if not known or (entry is not None and entry.covers(tier)):
            return None
        return self._public(record, tiers, day)

    def _entry(self, record: UsageRecord, day: date) -> Entry | None:
        if not self._prices:
            return None
        key = (record.response_model, record.upstream_model, record.model, day)
        try:
            return self._entries[key]
        except KeyError:
            if len(self._entries) >= _MOST_KEPT:
                self._entries.clear()
            found = self._entries[key] = self._prices.find(key[:3], day)
            return found

    def _public(self, record: UsageRecord, tiers: tuple[str, ...], day: date) -> Found | None:
        name = record.response_model or record.upstream_model
        if not name:
            return None
        listed = self._table.find(name, self._url(record), tiers, record.at)
        if listed is None:
            return None
        cost = _cost(record, listed.rates_for(record.usage.prompt_tokens))
        return None if cost is None else (cost, "genai-prices", listed.since or day)

    def _url(self, record: UsageRecord) -> str | None:
        """Tell where the upstream is: by the config, else by its name, which is its host unless it has another."""
        if record.upstream is None:
            return None
        return self._urls.get((record.model, record.upstream)) or f"https://{record.upstream}/"


def _cost(record: UsageRecord, rates: Rates | None) -> Decimal | None:
    if rates is None:
        return None
    has_output = record.endpoint not in NO_OUTPUT
    return cost_of(record.usage, rates, searches=searches_of(record.usage_raw), has_output=has_output)


def _is_sound(record: UsageRecord) -> bool:
    """Tell whether the figures can be charged for.

    A total that is less than the sum of its parts is a fault of the total. One that is more hides tokens of which
    nobody says what they are; and of a figure that cannot be read, nobody knows how much it is.
    """
    if not record.usage_faults:
        return True
    usage = record.usage
    hidden = (usage.total_tokens or 0) - (usage.prompt_tokens or 0) - (usage.completion_tokens or 0)
    return hidden <= 0 and all(fault.startswith("total_tokens != ") for fault in record.usage_faults)


def searches_of(raw: Mapping[str, Any] | None) -> int:
    """Count the searches that Anthropic made for the call, which it charges beside the tokens."""
    told = raw.get("server_tool_use") if raw else None
    count = told.get("web_search_requests") if isinstance(told, Mapping) else None
    return count if isinstance(count, int) and 0 < count < 2**31 else 0
