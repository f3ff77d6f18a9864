"""The section `pricing`: exact amounts, periods that do not overlap, and every fault by its path."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from msgspec.structs import replace

from llm_one_api.pricing import Entry, Rates
from llm_one_api.settings.pricing import entries
from llm_one_api.values import Usage
from tests.harness.processes import ROOT
from tests.harness.records import record
from tests.unit.settings.loader import Loader

FOUNDING = """\
pricing:
  gpt-3.5-turbo: {per: 1K, prompt: 0.0015, completion: 0.002}
  gpt-4:
    per: 1K
    input: 0.03
    output: 0.06
"""


def read(config: Loader, text: str) -> list[Entry]:
    return list(entries(config(text).pricing))


@pytest.mark.parametrize(("model", "cost"), [("gpt-3.5-turbo", "0.000315"), ("gpt-4", "0.0087")])
def test_the_founding_documents_prices_come_to_its_costs(config: Loader, model: str, cost: str) -> None:
    pricer = config(FOUNDING).pricer()

    priced = pricer.price(record(model=model, upstream_model=model, cost=None))

    assert (priced.cost, priced.price_source) == (Decimal(cost), "configured")


def test_the_pages_example_can_be_used_and_comes_to_what_it_says(config: Loader) -> None:
    page = (ROOT / "docs/prices.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    pricer = config(example).pricer()

    names = ("gpt-3.5-turbo", "gpt-4o-mini-2024-07-18", "our-images", "our-whisper")
    usage = Usage(prompt_tokens=50, completion_tokens=120, images=1, audio_seconds=60.0)
    costs = [pricer.price(record(model=n, upstream_model=n, cost=None, usage=usage)).cost for n in names]

    assert costs == [Decimal(cost) for cost in ("0.000315", "0.0000795", "0.04", "0.006")]
    assert f"cost ${costs[0]}, exactly" in page


def test_all_that_can_be_said_of_a_price(config: Loader) -> None:
    text = """\
pricing:
  gpt-4o-mini*:
    - {per: 1m, until: 2025-12-31, input: 0.30}
    - per: 1M
      from: 2026-01-01
      until: 2026-06-30
      input: 0.15
      output: 0.60
      cached_input: 0.075
      cache_write: 0.2
      cache_write_1h: 0.3
      audio_input: 40
      audio_output: 80
      image_input: 10
      image_output: 20
      image: 0.04
      audio_minute: 0.006
      web_search: 0.01
      batch: {input: 0.075, output: 0.30}
      tiers:
        priority: {input: 0.25, output: 1}
"""

    first, second = read(config, text)

    assert (first.name, first.since, first.until) == ("gpt-4o-mini*", None, date(2025, 12, 31))
    assert first.rates == Rates.of(input=Decimal("0.0000003"))
    assert (second.since, second.until) == (date(2026, 1, 1), date(2026, 6, 30))
    assert second.rates == Rates.of(
        input=Decimal("0.00000015"),
        output=Decimal("0.0000006"),
        cached_input=Decimal("0.000000075"),
        cache_write=Decimal("0.0000002"),
        cache_write_1h=Decimal("0.0000003"),
        audio_input=Decimal("0.00004"),
        audio_output=Decimal("0.00008"),
        image_input=Decimal("0.00001"),
        image_output=Decimal("0.00002"),
        image=Decimal("0.04"),
        audio_hour=Decimal("0.36"),
        web_search=Decimal("0.01"),
    )
    assert sorted(second.tiers) == ["batch", "priority"]
    assert second.tiers["batch"].input == Decimal("0.000000075")
    assert "cached_input" in second.tiers["batch"].apart


@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.decimals(0, 10**6, places=12))
def test_an_amount_is_read_to_the_last_digit(config: Loader, amount: Decimal) -> None:
    [entry] = read(config, f"pricing: {{m: {{image: {amount}}}}}")

    assert entry.rates is not None
    assert entry.rates.image == amount


@pytest.mark.parametrize("written", ["0.10", "1e-1", "'0.1'", ".1", "0.1_0"])
def test_amounts_can_be_written_as_numbers_are(config: Loader, written: str) -> None:
    [entry] = read(config, f"pricing: {{m: {{image: {written}}}}}")

    assert entry.rates is not None
    assert entry.rates.image == Decimal("0.1")


def test_a_variable_of_the_environment_holds_prices_as_exactly(config: Loader) -> None:
    environ = {"LLM_ONE_API__PRICING": '{"m": {"per": "1M", "input": 0.1, "output": 0.30000000000000001}}'}

    [entry] = entries(config("", environ).pricing)

    assert entry.rates == Rates.of(input=Decimal("0.0000001"), output=Decimal("0.30000000000000001").scaleb(-6))


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        ("{input: 1}", "per (line 2): must be given: 1K or 1M, of how many tokens the prices are"),
        ("{image: 1, batch: {input: 1}}", "per (line 2): must be given"),
        ("{per: 1B, input: 1}", "per (line 2): must be 1K or 1M: of how many tokens the prices are, got '1B'"),
        ("{per: 1M, input: -1}", "input (line 2): must be an amount in USD between 0 and 1000000, such as 0.15, "),
        ("{per: 1M, input: nan}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, input: inf}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, input: 1000001}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, input: 0.0000000000000000001}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, input: $5}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, input: yes}", "input (line 2): must be an amount in USD"),
        ("{per: 1M, inptu: 1}", "inptu (line 2): unknown setting; did you mean input?"),
        ("{per: 1M, input: 1, since: 2026-01-01}", "since (line 2): unknown setting; known here: input, "),
        ("{per: 1M, input: 1, prompt: 1}", "prompt (line 2): is the same as input: give one of the two"),
        ("{per: 1M, output: 1, completion: 1}", "completion (line 2): is the same as output: give one of the two"),
        ("{per: 1M}", " (line 2): must have a price, such as input and output"),
        ("", " (line 2): must be a section"),
        ("0.15", " (line 2): must be a section"),
        ("[]", " (line 2): must have at least one price"),
        ("[{per: 1M, input: 1}, 5]", "1 (line 2): must be a section"),
        ("{image: 1, from: 2026-01-32}", "from (line 2): must be a day such as 2026-01-31, got '2026-01-32'"),
        ("{image: 1, from: 1767225600}", "from (line 2): must be a day such as 2026-01-31"),
        ("{image: 1, until: 2026-01-01T00:00:00}", "until (line 2): must be a day such as 2026-01-31"),
        ("{image: 1, from: 2026-02-01, until: 2026-01-31}", "until (line 2): must not be before from (2026-02-01)"),
        ("{image: 1, tiers: {flex: {}}}", "tiers.flex (line 2): must have a price"),
        ("{image: 1, tiers: {flex: {per: 1K, image: 1}}}", "tiers.flex.per (line 2): unknown setting"),
        ("{image: 1, batch: {image: 1}, tiers: {batch: {image: 2}}}", "batch (line 2): is the same as tiers.batch"),
    ],
)  # fmt: skip
def test_a_price_that_cannot_be_used_is_a_fault(config: Loader, price: str, fault: str) -> None:
    faults = config.faults(f"pricing:\n  m: {price}\n")

    assert len(faults) == 1, faults
    assert faults[0].startswith(f"pricing.m{'' if fault.startswith(' ') else '.'}{fault}")


@pytest.mark.parametrize(
    ("periods", "later", "earlier"),
    [
        (["", ""], 1, 0),
        (["from: 2026-01-02", "until: 2026-01-02"], 1, 0),
        (["from: 2026-01-01", "from: 2026-02-01"], 1, 0),
        (["from: 2026-01-01, until: 2026-12-31", "from: 2026-05-01, until: 2026-05-01"], 1, 0),
        (["from: 2026-03-01", "until: 2026-01-01", "from: 2026-01-01, until: 2026-01-31"], 2, 1),
    ],
)
def test_prices_of_one_model_that_hold_at_the_same_time_are_a_fault(
    config: Loader, periods: list[str], later: int, earlier: int
) -> None:
    prices = "".join(f"    - {{image: 1, {period}}}\n" for period in periods)

    [fault] = config.faults(f"pricing:\n  m:\n{prices}")

    assert fault.startswith(f"pricing.m.{later} (line {3 + later}): holds at the same time as entry {earlier}")


@pytest.mark.parametrize("name", ['"*"', '"a*b"', '"**"', '""', "x" * 201])
def test_a_name_that_stands_for_no_models_is_a_fault(config: Loader, name: str) -> None:
    [fault] = config.faults(f"pricing: {{{name}: {{image: 1}}}}")

    assert fault.startswith("pricing.")
    assert "may have a * at its end only" in fault or "has 1 to 200 characters" in fault


def test_all_faults_are_told_at_once_with_their_lines(config: Loader) -> None:
    text = """\
pricing:
  a: {per: 1K, input: x}
  b:
    - per: 1M
      input: 1
      until: 2026-01-01
    - per: 1M
      outptu: 2
      input: 3
  "c*d": {image: 1}
server: {port: x}
"""

    faults = config.faults(text)

    assert [fault.partition(":")[0] for fault in faults] == [
        "pricing.a.input (line 2)", "pricing.b.1.outptu (line 8)", "pricing.c*d (line 10)", "server.port (line 11)",
    ]  # fmt: skip


def test_the_prices_of_tiers_may_stand_alone(config: Loader) -> None:
    [entry] = read(config, "pricing: {m: {per: 1M, tiers: {flex: {input: 1}}}}")

    assert entry.rates is None
    assert entry.tiers["flex"].input == Decimal("0.000001")


def test_prices_that_follow_each_other_may_stand_in_any_order(config: Loader) -> None:
    text = """\
pricing:
  m:
    - {image: 3, from: 2026-03-01}
    - {image: 1, until: 2025-12-31}
    - {image: 2, from: 2026-01-01, until: 2026-02-28}
"""

    assert [entry.rates and entry.rates.image for entry in read(config, text)] == [3, 1, 2]


def test_the_day_of_a_price_is_that_of_the_configured_zone(config: Loader) -> None:
    text = "timezone: Asia/Shanghai\npricing: {m: [{image: 1, until: 2025-11-12}, {image: 2, from: 2025-11-13}]}"
    pricer = config(text).pricer()
    call = record(model="m", cost=None, usage=Usage(images=1))

    late = call.at.replace(hour=16, minute=0, second=0, microsecond=0)

    assert pricer.price(record(model="m", cost=None, usage=Usage(images=1), at=late)).cost == 2
    assert pricer.price(call).cost == 1


def test_an_upstream_with_a_name_of_its_own_is_known_by_its_address(config: Loader) -> None:
    text = """\
models:
  m:
    upstreams: [{name: azure-eu, api_base: "https://x.openai.azure.com/openai", upstream_model: deepseek-r1}]
  n:
    upstreams: [{name: elsewhere, api_base: "https://llm.example/v1", upstream_model: deepseek-r1}]
"""
    pricer = config(text).pricer()
    asked = record(upstream_model="deepseek-r1", cost=None)

    known = pricer.price(replace(asked, model="m", upstream="azure-eu"))
    unknown = pricer.price(replace(asked, model="n", upstream="elsewhere"))

    assert (known.price_source, unknown.price_source) == ("genai-prices", None)
