"""Whom the price of a call is asked of, and in which order."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from genai_prices.types import ClauseStartsWith, ModelInfo, ModelPrice, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.pricing import Entry, PriceList, Pricer, Rates
from llm_one_api.pricing.table import Table
from llm_one_api.stores.journal.entries import Closed, decode
from llm_one_api.stores.journal.entries import encode as to_journal
from llm_one_api.values import Usage, UsageRecord
from tests.harness.records import bare, record

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
TODAY = date(2026, 11, 24)
TOLD = {"cost": 0.5}


def public(price: str = "3") -> Table:
    """A public table in which every model has one price."""
    rates = ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(price))
    model = ModelInfo(id="any", match=ClauseStartsWith(""), prices=rates)
    return Table(lambda: [Provider(id="example", name="Example", api_pattern="https://openai/", models=[model])])


def pricer(*entries: Entry, zone: tzinfo = UTC, table: Table | None = None) -> Pricer:
    return Pricer(PriceList(entries), zone, table=table or public())


def own(name: str = "gpt-4", price: str = "0.001", **more: Any) -> Entry:
    return Entry(name=name, rates=Rates.of(input=Decimal(price), output=Decimal(price)), **more)


def call(**changes: Any) -> UsageRecord:
    """A call of 100 tokens that has no cost yet."""
    fields = {
        "at": AT, "model": "gpt-4", "upstream_model": "gpt-4", "cost": None,
        "usage": Usage(prompt_tokens=40, completion_tokens=60, total_tokens=100),
    }  # fmt: skip
    return record(**{**fields, **changes})


def of(priced: UsageRecord) -> tuple[Decimal | None, str | None, date | None]:
    return priced.cost, priced.price_source, priced.price_date


@pytest.mark.parametrize(
    ("entries", "raw", "expected"),
    [
        ([own()], TOLD, (Decimal("0.1"), "configured", TODAY)),
        ([], TOLD, (Decimal("0.5"), "reported", TODAY)),
        ([], None, (Decimal("0.0003"), "genai-prices", TODAY)),
        ([own("another")], None, (Decimal("0.0003"), "genai-prices", TODAY)),
        ([own(since=date(2026, 1, 1))], None, (Decimal("0.1"), "configured", date(2026, 1, 1))),
        ([own(until=date(2026, 11, 23))], TOLD, (Decimal("0.5"), "reported", TODAY)),
        ([own(since=date(2026, 11, 25))], None, (Decimal("0.0003"), "genai-prices", TODAY)),
    ],
)
def test_the_operator_is_asked_first_then_the_provider_then_the_public_table(
    entries: list[Entry], raw: dict[str, Any] | None, expected: tuple[Decimal, str, date]
) -> None:
    assert of(pricer(*entries).price(call(usage_raw=raw))) == expected


def test_nothing_else_of_the_record_changes() -> None:
    before = call()

    after = pricer(own()).price(before)

    assert msgspec.structs.replace(after, cost=None, price_source=None, price_date=None) == before


def test_where_nobody_knows_a_price_the_record_stays_as_it_is() -> None:
    before = call(upstream="elsewhere", upstream_model="unheard-of")

    assert pricer().price(before) is before


def test_a_record_that_has_a_cost_keeps_it() -> None:
    free = call(cost=Decimal(0))

    assert pricer(own()).price(free) is free


def test_the_name_that_answered_comes_before_the_one_that_was_asked_for_and_the_public_one() -> None:
    it = pricer(own("answered", "0.001"), own("asked", "0.002"), own("public", "0.003"))
    names = {"response_model": "answered", "upstream_model": "asked", "model": "public"}

    costs = []
    for name in names:
        costs.append(it.price(call(**names)).cost)
        names[name] = "unheard-of"

    assert costs == [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]


def test_the_public_table_is_asked_for_the_model_that_answered_alone() -> None:
    class Asked(Table):
        def find(self, model: str, *rest: Any) -> None:
            asked.append(model)

    asked: list[str] = []
    it = pricer(table=Asked())

    it.price(call(response_model="answered", upstream_model="asked"))
    it.price(call(response_model=None, upstream_model="asked"))
    it.price(call(response_model=None, upstream_model=None))

    assert asked == ["answered", "asked"]


def test_who_has_a_price_for_the_model_but_not_for_this_call_does_not_pay_the_public_one() -> None:
    it = pricer(own())

    assert of(it.price(call(service_tier="flex"))) == (None, None, None)
    assert of(it.price(call(service_tier="flex", usage_raw=TOLD))) == (Decimal("0.5"), "reported", TODAY)
    assert of(it.price(call(usage=Usage(prompt_tokens=40)))) == (None, None, None)


def test_who_prices_a_tier_alone_pays_the_public_price_for_the_rest() -> None:
    half = Rates.of(input=Decimal("0.0005"), output=Decimal("0.0005"))
    it = pricer(Entry(name="gpt-4", rates=None, tiers={"flex": half}))

    assert of(it.price(call(service_tier="flex"))) == (Decimal("0.05"), "configured", TODAY)
    assert of(it.price(call())) == (Decimal("0.0003"), "genai-prices", TODAY)


def test_tiers_cost_what_the_operator_says_of_them() -> None:
    half = Rates.of(input=Decimal("0.0005"), output=Decimal("0.0005"))
    fast = Rates.of(input=Decimal("0.006"), output=Decimal("0.006"))
    it = pricer(own(tiers={"batch": half, "speed=fast": fast}))

    assert it.price(call(service_tier="batch")).cost == Decimal("0.05")
    assert it.price(call(service_tier="standard")).cost == Decimal("0.1")
    assert it.price(call(usage_raw={"speed": "fast"})).cost == Decimal("0.6")
    assert it.price(call(service_tier="batch", usage_raw={"speed": "fast"})).cost is None


@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        ("UTC", datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC), date(2026, 11, 23)),
        ("UTC", datetime(2026, 11, 24, tzinfo=UTC), date(2026, 11, 24)),
        ("Asia/Shanghai", datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC), date(2026, 11, 23)),
        ("Asia/Shanghai", datetime(2026, 11, 23, 16, 0, 0, tzinfo=UTC), date(2026, 11, 24)),
        # The days on which clocks are changed: one has 23 hours, the other 25.
        ("America/New_York", datetime(2026, 3, 8, 4, 59, 59, tzinfo=UTC), date(2026, 3, 7)),
        ("America/New_York", datetime(2026, 3, 8, 5, 0, 0, tzinfo=UTC), date(2026, 3, 8)),
        ("America/New_York", datetime(2026, 3, 9, 3, 59, 59, tzinfo=UTC), date(2026, 3, 8)),
        ("America/New_York", datetime(2026, 3, 9, 4, 0, 0, tzinfo=UTC), date(2026, 3, 9)),
        ("America/New_York", datetime(2026, 11, 2, 4, 59, 59, tzinfo=UTC), date(2026, 11, 1)),
        ("America/New_York", datetime(2026, 11, 2, 5, 0, 0, tzinfo=UTC), date(2026, 11, 2)),
    ],
)
def test_the_day_of_a_call_is_the_configured_zones(zone: str, at: datetime, day: date) -> None:
    only_then = own(since=day, until=day)

    assert pricer(only_then, zone=ZoneInfo(zone)).price(call(at=at)).price_source == "configured"


def test_the_price_changes_at_midnight_though_the_call_before_was_just_priced() -> None:
    old, new = own(until=date(2026, 11, 24)), own(price="0.002", since=date(2026, 11, 25))
    it = pricer(old, new, zone=ZoneInfo("Asia/Shanghai"))

    found = [
        it.price(call(at=datetime(2026, 11, 24, hour, minute, tzinfo=UTC))).cost for hour, minute in ((15, 59), (16, 0))
    ]

    assert found == [Decimal("0.1"), Decimal("0.2")]


def test_without_usage_there_is_no_cost_but_the_one_that_is_told() -> None:
    it = pricer(own())

    assert it.price(bare(model="gpt-4")).cost is None
    assert of(it.price(bare(model="gpt-4", at=AT, usage_raw=TOLD))) == (Decimal("0.5"), "reported", TODAY)


@pytest.mark.parametrize("source", ["reported", "estimated", "partial"])
def test_estimates_and_parts_are_charged_as_they_stand(source: str) -> None:
    assert pricer(own()).price(call(usage_source=source)).cost == Decimal("0.1")


WRONG_TOTAL = "total_tokens != prompt_tokens + completion_tokens"


@pytest.mark.parametrize(
    ("usage", "fault", "cost"),
    [
        # The parts are known, and the total is wrong.
        (Usage(prompt_tokens=40, completion_tokens=60, total_tokens=60), WRONG_TOTAL, "0.1"),
        # There are 50 tokens more, of which nobody says what they are.
        (Usage(prompt_tokens=40, completion_tokens=60, total_tokens=150), WRONG_TOTAL, None),
        (Usage(prompt_tokens=4, completion_tokens=6, cache_read_tokens=5), "cache_read_tokens > prompt_tokens", None),
        (Usage(prompt_tokens=40, completion_tokens=60), "cached_tokens is negative", None),
    ],
)
def test_figures_that_cannot_be_true_are_charged_only_where_that_is_no_matter(
    usage: Usage, fault: str, cost: str | None
) -> None:
    it, faulty = pricer(own()), call(usage=usage, usage_faults=(fault,))

    assert it.price(faulty).cost == (cost and Decimal(cost))
    assert pricer().price(msgspec.structs.replace(faulty, usage_raw=TOLD)).price_source == "reported"


def test_embeddings_have_no_output_to_be_paid() -> None:
    used = Usage(prompt_tokens=100, total_tokens=100)

    assert pricer(own()).price(call(usage=used, endpoint="embeddings")).cost == Decimal("0.1")
    assert pricer(own()).price(call(usage=used, endpoint="chat")).cost is None


@pytest.mark.parametrize(
    ("raw", "cost"),
    [
        ({"server_tool_use": {"web_search_requests": 3}}, "0.13"),
        ({"server_tool_use": {"web_search_requests": 0}}, "0.1"),
        ({"server_tool_use": None}, "0.1"),
        ({"server_tool_use": {"web_search_requests": "3"}}, "0.1"),
    ],
)
def test_searches_that_the_provider_tells_of_are_charged(raw: dict[str, Any], cost: str) -> None:
    rates = Rates.of(input=Decimal("0.001"), output=Decimal("0.001"), web_search=Decimal("0.01"))

    assert pricer(Entry(name="gpt-4", rates=rates)).price(call(usage_raw=raw)).cost == Decimal(cost)


def test_the_upstreams_address_is_the_configs_else_its_name() -> None:
    class Asked(Table):
        def find(self, model: str, url: str | None, *rest: Any) -> None:
            asked.append(url)

    asked: list[str | None] = []
    it = Pricer(PriceList(), UTC, {("gpt-4", "azure-eu"): "https://x.openai.azure.com"}, Asked())

    it.price(call(upstream="azure-eu"))
    it.price(call(upstream="api.openai.com"))
    it.price(call(upstream=None))

    assert asked == ["https://x.openai.azure.com", "https://api.openai.com/", None]


COST = st.decimals(0, 10**6, places=12).filter(lambda cost: cost < 10**6)


@settings(deadline=None)
@given(COST)
def test_a_cost_is_the_same_in_the_journal_and_in_a_message(cost: Decimal) -> None:
    kept = call(cost=cost, price_source="configured", price_date=TODAY)

    from_journal = decode(to_journal(Closed(record=kept)))
    from_message = msgspec.json.decode(msgspec.json.encode(kept), type=UsageRecord)

    assert from_journal == Closed(record=kept)
    assert from_message == kept
