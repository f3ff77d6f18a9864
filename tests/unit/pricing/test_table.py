"""The public prices: those of the library to the last digit, or none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from llm_one_api.pricing.rates import cost_of, money
from llm_one_api.pricing.table import Listed, Table, tiers_of
from llm_one_api.values import Usage

AT = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
URL = "https://api.example.com/v1"


def prices(**units: str | TieredPrices) -> ModelPrice:
    return ModelPrice(**{name: Decimal(price) if isinstance(price, str) else price for name, price in units.items()})


def table(what: Any, *variants: PriceVariant, provider: str = "example", more: list[Provider] | None = None) -> Table:
    """A table with one model `m`, offered by one provider at URL."""
    model = ModelInfo(id="m", match=ClauseStartsWith("m"), prices=what, price_variants=list(variants))
    one = Provider(id=provider, name="Example", api_pattern=r"https://api\.example\.com", models=[model])
    return Table(lambda: [one, *(more or [])])


def cost(found: Listed | None, prompt: int = 1000, completion: int = 100, **parts: Any) -> Decimal | None:
    rates = None if found is None else found.rates_for(prompt)
    return None if rates is None else cost_of(Usage(prompt_tokens=prompt, completion_tokens=completion, **parts), rates)


USAGES: list[dict[str, int]] = [
    {"prompt_tokens": 1000, "completion_tokens": 100},
    {"prompt_tokens": 300_000, "completion_tokens": 7},
    {"prompt_tokens": 1000, "completion_tokens": 100, "cache_read_tokens": 400},
    {"prompt_tokens": 1000, "completion_tokens": 100, "cache_read_tokens": 400, "cache_write_5m_tokens": 300},
]


@pytest.mark.parametrize("figures", USAGES, ids=str)
def test_what_it_prices_comes_to_what_the_library_makes_of_it(figures: dict[str, int]) -> None:
    """All models of all providers that have a host of their own."""
    usage = Usage(**figures)
    theirs = TheirUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
    )
    same = 0
    for provider in providers:
        it = Table(lambda: [replace(provider, api_pattern="https://it/")])  # noqa: B023 (used within the turn)
        for model in provider.models:
            name = model.id
            found = it.find(name, "https://it/", (), AT)
            mine = cost(
                found, usage.prompt_tokens or 0, usage.completion_tokens or 0, **dict(list(figures.items())[2:])
            )
            if mine is None or provider.find_model(name) is not model:
                continue
            assert mine == money(model.calc_price(theirs, provider, genai_request_timestamp=AT).total_price), name
            same += 1

    assert same > 500


def test_prices_change_on_the_day_that_the_table_says_in_utc() -> None:
    it = table([
        ConditionalPrice(prices=prices(input_mtok="1", output_mtok="2")),
        ConditionalPrice(StartDateConstraint(date(2026, 11, 24)), prices=prices(input_mtok="3", output_mtok="4")),
    ])  # fmt: skip

    before = it.find("m", URL, (), datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC))
    after = it.find("m", URL, (), datetime(2026, 11, 24, tzinfo=UTC))

    assert (cost(before), before and before.since) == (Decimal("0.0012"), None)
    assert (cost(after), after and after.since) == (Decimal("0.0034"), date(2026, 11, 24))


def test_a_price_that_begins_later_is_none_before() -> None:
    it = table([ConditionalPrice(StartDateConstraint(date(2026, 11, 25)), prices=prices(input_mtok="3"))])

    assert it.find("m", URL, (), AT) is None


def test_prices_by_the_hour_are_found_for_each_hour() -> None:
    off_peak = TimeOfDateConstraint(time(0, 30, tzinfo=UTC), time(8, tzinfo=UTC))
    it = table([
        ConditionalPrice(prices=prices(input_mtok="1", output_mtok="1")),
        ConditionalPrice(off_peak, prices=prices(input_mtok="0.5", output_mtok="0.5")),
    ])  # fmt: skip

    found = [cost(it.find("m", URL, (), AT.replace(hour=hour, minute=30)), 1000, 0) for hour in (0, 7, 8, 0, 10)]

    assert found == [Decimal("0.0005"), Decimal("0.0005"), Decimal("0.001"), Decimal("0.0005"), Decimal("0.001")]


def test_prices_by_the_hour_are_not_taken_for_days_before_the_newest_price_began() -> None:
    it = table([
        ConditionalPrice(prices=prices(input_mtok="1")),
        ConditionalPrice(StartDateConstraint(date(2026, 11, 24)), prices=prices(input_mtok="2")),
        ConditionalPrice(TimeOfDateConstraint(time(tzinfo=UTC), time(12, tzinfo=UTC)), prices=prices(input_mtok="3")),
    ])  # fmt: skip

    assert it.find("m", URL, (), AT.replace(day=23)) is None
    assert cost(it.find("m", URL, (), AT), 1000, 0) == Decimal("0.003")


def test_long_inputs_cost_what_all_their_tokens_do_above_the_threshold() -> None:
    tiered = TieredPrices(Decimal(1), [Tier(2000, Decimal(2)), Tier(5000, Decimal(4))])
    found = table(prices(input_mtok=tiered, output_mtok="1", cache_read_mtok="0.1")).find("m", URL, (), AT)

    assert [cost(found, n, 0) for n in (2000, 2001, 5000, 5001)] == [
        Decimal("0.002"), Decimal("0.004002"), Decimal("0.01"), Decimal("0.020004"),
    ]  # fmt: skip
    assert found is not None
    assert found.rates_for(None) is None


FLEX = PriceVariant({"service_tier": "flex"}, prices(input_mtok="0.5"), StartDateConstraint(date(2026, 10, 1)))
BATCH = PriceVariant({"processing": "batch"}, prices(input_mtok="0.25", output_mtok="1"))
FAST = PriceVariant({"speed": "fast"}, prices(input_mtok="6", output_mtok="12"))


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ((), "0.0012"),
        (("flex",), "0.0007"),
        (("batch",), "0.00035"),
        (("speed=fast",), "0.0072"),
        (("priority",), None),
        (("Flex",), None),
        (("speed=flex",), None),
        (("inference_geo=us",), None),
        (("flex", "inference_geo=us"), None),
    ],
)
def test_a_tier_costs_what_the_table_says_of_it_or_nobody_knows(tiers: tuple[str, ...], expected: str | None) -> None:
    it = table(prices(input_mtok="1", output_mtok="2"), FLEX, BATCH, FAST)

    found = it.find("m", URL, tiers, AT)

    assert cost(found) == (expected and Decimal(expected))


def test_a_tiers_price_holds_from_its_own_day() -> None:
    it = table(prices(input_mtok="1", output_mtok="2"), FLEX)

    found = it.find("m", URL, ("flex",), AT)

    assert found is not None
    assert found.since == date(2026, 10, 1)
    assert it.find("m", URL, ("flex",), AT.replace(month=9)) is None


def test_the_tiers_of_a_model_that_another_provider_makes_are_not_this_ones() -> None:
    maker = ModelInfo(id="x", match=ClauseEquals("x"), prices=prices(input_mtok="1"), price_variants=[BATCH])
    reseller = Provider(id="r", name="R", api_pattern="https://r", fallback_model_providers=["maker"])
    it = Table(lambda: [reseller, Provider(id="maker", name="Maker", api_pattern="https://maker", models=[maker])])

    assert cost(it.find("x", "https://r/v1", (), AT), 1000, 0) == Decimal("0.001")
    assert it.find("x", "https://r/v1", ("batch",), AT) is None


@pytest.mark.parametrize(
    ("units", "parts"),
    [
        ({"input_mchars": "15"}, {}),
        ({"input_mtok": "1", "requests_kcount": "5"}, {}),
        ({"input_mtok": "1", "output_citation_mtok": "5"}, {}),
        ({"input_mtok": "1", "something_new": "5"}, {}),
        ({}, {}),
        # Audio that has no price is not as cheap as text.
        ({"input_mtok": "1", "output_mtok": "1"}, {"audio_input_tokens": 1}),
        ({"input_mtok": "1", "output_mtok": "1"}, {"audio_output_tokens": 1}),
        ({"input_mtok": "1", "output_mtok": "1", "cache_write_mtok": "2"}, {"cache_write_1h_tokens": 1}),
    ],
)
def test_units_that_are_not_counted_leave_no_price(units: dict[str, str], parts: dict[str, int]) -> None:
    assert cost(table(prices(**units)).find("m", URL, (), AT), **parts) is None


def test_units_that_no_upstream_tells_of_are_let_be() -> None:
    it = table(prices(input_mtok="1", output_mtok="2", storage_searches_kcount="2.5", cache_audio_read_mtok="9"))

    assert cost(it.find("m", URL, (), AT)) == Decimal("0.0012")


@pytest.mark.parametrize("provider", ["perplexity", "zhipuai", "databricks"])
def test_prices_that_the_table_calls_approximate_are_none(provider: str) -> None:
    assert table(prices(input_mtok="1"), provider=provider).find("m", URL, (), AT) is None


@pytest.mark.parametrize(
    ("model", "url", "known"),
    [
        ("gpt-4o-mini-2024-07-18", "https://api.openai.com/v1", True),
        ("gpt-4o-mini-2024-07-18", "https://acme.openai.azure.com/openai", True),
        ("GPT-4o-Mini", "https://api.openai.com/v1", True),
        ("claude-sonnet-4-5-20250929", "https://api.anthropic.com/v1", True),
        # Whoever serves what only its maker can, serves it at the maker's price, as far as anybody knows.
        ("gpt-4o-mini", "https://llm.corp.example/v1", True),
        ("claude-sonnet-4-5", "http://127.0.0.1:4000/v1", True),
        ("gpt-4o-mini", None, True),
        # Not so what everybody serves.
        ("deepseek-chat", "https://api.deepseek.com/v1", True),
        ("deepseek-chat", "http://127.0.0.1:8000/v1", False),
        ("deepseek-chat", None, False),
        ("gpt-oss-120b", "http://127.0.0.1:8000/v1", False),
        ("mistral-small-latest", "https://llm.corp.example/v1", False),
        # A region of the maker's own has its own prices.
        ("gpt-4o-mini", "https://eu.api.openai.com/v1", False),
        # What a known provider does not offer is not another's.
        ("gpt-4o-mini", "https://api.deepseek.com/v1", False),
        ("nobody-knows", "https://api.openai.com/v1", False),
        ("gpt-4o-mini" + "x" * 300, "https://api.openai.com/v1", False),
        ("", "https://api.openai.com/v1", False),
        ("nobody-knows", "https://[an upstream's name/", False),
    ],
)
def test_the_provider_is_told_by_the_host_else_by_models_that_nobody_else_has(
    model: str, url: str | None, known: bool
) -> None:
    assert (Table().find(model, url, (), AT) is not None) is known


@pytest.mark.parametrize(
    ("service_tier", "raw", "tiers"),
    [
        (None, None, ()),
        ("default", {}, ()),
        ("standard", {"speed": "standard", "inference_geo": "global"}, ()),
        ("auto", {"inference_geo": "not_available"}, ()),
        ("flex", None, ("flex",)),
        (None, {"speed": "fast"}, ("speed=fast",)),
        (None, {"service_tier": "priority"}, ("priority",)),
        ("standard", {"service_tier": "priority"}, ()),
        (None, {"service_tier": 5}, ()),
        ("priority", {"speed": "fast", "inference_geo": "us"}, ("priority", "speed=fast", "inference_geo=us")),
        (None, {"speed": 5, "inference_geo": ["us"]}, ()),
    ],
)
def test_what_a_call_ran_in_beyond_the_ordinary_is_named(
    service_tier: str | None, raw: dict[str, Any] | None, tiers: tuple[str, ...]
) -> None:
    assert tiers_of(service_tier, raw) == tiers


def test_made_up_names_do_not_fill_the_memory() -> None:
    it = table(prices(input_mtok="1"))

    for number in range(5000):
        it.find(f"m{number}", URL, (), AT)

    assert len(it._found) <= 2000


def test_the_library_is_loaded_on_need_and_opens_no_connection() -> None:
    code = (
        "import socket, sys\n"
        "socket.socket = type('NoSocket', (socket.socket,), {'connect': None})\n"
        "from datetime import UTC, datetime\n"
        "from llm_one_api.pricing import PriceList, Pricer\n"
        "from llm_one_api.pricing.table import Table\n"
        "before = 'genai_prices' in sys.modules\n"
        "found = Table().find('gpt-4o-mini', None, (), datetime.now(UTC))\n"
        "print(before, found is not None, 'genai_prices' in sys.modules)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert said.splitlines()[-1] == "False True True"
