"""What a usage comes to: exact, each token once, or not at all."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.pricing.rates import MOST, PLACES, Rates, cost_of, money
from llm_one_api.values import Usage

# Prices of units, as of the founding document and of providers, down to fractions of a millionth of a cent.
PRICE = st.decimals(0, "0.01", places=9)
TOKENS = st.integers(0, 10**7)


def usage(prompt: int | None = None, completion: int | None = None, **parts: Any) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **parts)


def rates(**prices: str) -> Rates:
    return Rates.of(**{name: Decimal(price) for name, price in prices.items()})


@pytest.mark.parametrize(
    ("prompt", "completion", "cost"), [("0.0015", "0.002", "0.000315"), ("0.03", "0.06", "0.0087")]
)
def test_the_founding_documents_examples_are_exact(prompt: str, completion: str, cost: str) -> None:
    per_1k = {"input": Decimal(prompt).scaleb(-3), "output": Decimal(completion).scaleb(-3)}

    found = cost_of(usage(50, 120), Rates.of(**per_1k))

    assert found == Decimal(cost)
    assert str(found) == cost


@settings(deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=20), PRICE, PRICE)
def test_the_cost_of_a_sum_of_tokens_is_the_sum_of_their_costs(
    calls: list[tuple[int, int]], price_in: Decimal, price_out: Decimal
) -> None:
    prices = Rates.of(input=price_in, output=price_out)
    whole = usage(sum(p for p, _ in calls), sum(c for _, c in calls))

    costs = [cost_of(usage(*call), prices) for call in calls]

    together = cost_of(whole, prices)
    assert together is not None
    assert Fraction(together) == sum(Fraction(cost) for cost in costs if cost is not None)
    assert None not in costs


@st.composite
def parted(draw: st.DrawFn) -> Usage:
    """A usage whose parts fit into their wholes."""
    cached = draw(st.tuples(*[st.integers(0, 10**6)] * 3))
    seen = draw(st.tuples(*[st.integers(0, 10**6)] * 2))
    thought = draw(st.integers(0, 10**6))
    return Usage(
        prompt_tokens=max(sum(cached), sum(seen)) + draw(TOKENS),
        completion_tokens=thought + draw(TOKENS),
        cache_read_tokens=cached[0],
        cache_write_5m_tokens=cached[1],
        cache_write_1h_tokens=cached[2],
        audio_input_tokens=seen[0],
        image_tokens=seen[1],
        reasoning_tokens=thought,
    )


@settings(deadline=None)
@given(parted(), PRICE)
def test_parts_that_cost_what_their_whole_does_change_nothing(used: Usage, price: Decimal) -> None:
    plain = Rates.of(input=price, output=price)
    parts = ("cached_input", "cache_write", "cache_write_1h", "audio_input", "image_input", "reasoning")
    same = Rates.of(input=price, output=price, **dict.fromkeys(parts, price))

    whole = cost_of(used, plain)

    assert cost_of(used, same) == whole
    assert whole == money(Fraction(price) * (used.prompt_tokens + used.completion_tokens))  # type: ignore[operator]


@settings(deadline=None)
@given(parted(), PRICE, PRICE, PRICE, PRICE)
def test_each_token_is_charged_once_and_never_below_the_lowest_or_above_the_highest_price(
    used: Usage, price: Decimal, read: Decimal, short: Decimal, long: Decimal
) -> None:
    prices = Rates.of(input=price, cached_input=read, cache_write=short, cache_write_1h=long)
    every = (price, read, short, long)
    prompt = used.prompt_tokens or 0

    found = cost_of(usage(prompt, **{name: getattr(used, name) for name in CACHE}), prices)

    fresh = prompt - sum(getattr(used, name) for name in CACHE)
    charged = [Fraction(p) * n for p, n in zip(every, (fresh, *(getattr(used, n) for n in CACHE)), strict=True)]
    assert found == money(sum(charged))
    assert found is None or min(every) * prompt <= found <= max(every) * prompt


CACHE = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@pytest.mark.parametrize(
    ("used", "prices", "cost"),
    [
        (usage(100, 10, cache_read_tokens=40), {"cached_input": "0.1"}, "174"),  # 60 x 2, 40 x 0.1, 10 x 5
        (usage(100, 10, cache_read_tokens=40), {}, "250"),
        (usage(100, 10, cache_write_5m_tokens=10, cache_write_1h_tokens=10), {}, "250"),
        (
            usage(100, 10, cache_write_5m_tokens=10, cache_write_1h_tokens=20),
            {"cache_write": "3", "cache_write_1h": "4"},
            "300",
        ),
        (
            usage(100, 10, audio_input_tokens=30, audio_output_tokens=4),
            {"audio_input": "9", "audio_output": "7"},
            "468",
        ),
        (usage(100, 10, image_tokens=30, image_output_tokens=10), {"image_input": "9", "image_output": "7"}, "480"),
        (usage(100, 10, reasoning_tokens=9), {}, "250"),
        (usage(100, 10, reasoning_tokens=9), {"reasoning": "1"}, "214"),
    ],
)
def test_a_part_costs_what_it_does_by_itself_else_what_its_whole_does(
    used: Usage, prices: dict[str, str], cost: str
) -> None:
    assert cost_of(used, rates(input="2", output="5", **prices)) == Decimal(cost)


BOTH = {"input": "2", "output": "5"}


@pytest.mark.parametrize(
    ("used", "prices"),
    [
        (usage(100, None), BOTH),
        (usage(None, 10), BOTH),
        (usage(100, 10), {"input": "2"}),
        (usage(100, 10), {"output": "2"}),
        (usage(100, 10), {"image": "2"}),
        (usage(100, 10), {"audio_hour": "2"}),
        (usage(images=2), BOTH),
        (usage(audio_seconds=2.0), BOTH),
        (usage(), BOTH),
        (usage(), {"image": "2"}),
        # Parts that cannot be: what is wrong, and by how much, nobody knows.
        (usage(100, 10, cache_read_tokens=101), BOTH),
        (usage(9, 10, cache_read_tokens=6, cache_write_5m_tokens=6), {**BOTH, "cached_input": "1", "cache_write": "3"}),
        (usage(100, 10, reasoning_tokens=11), BOTH),
        # Is the image among the cached?
        (usage(100, 10, cache_read_tokens=40, image_tokens=20), {**BOTH, "cached_input": "1", "image_input": "9"}),
        # Who writes for five minutes at a price of its own writes for an hour at a higher one.
        (usage(100, 10, cache_write_1h_tokens=1), {**BOTH, "cache_write": "3"}),
        (usage(10**15, 1), BOTH),
    ],
)  # fmt: skip
def test_where_something_is_not_known_there_is_no_cost(used: Usage, prices: dict[str, str]) -> None:
    assert cost_of(used, rates(**prices)) is None


@pytest.mark.parametrize(
    ("used", "prices", "cost"),
    [
        (usage(100, 0), {"input": "2"}, "200"),
        (usage(100, None), {"input": "2"}, "200"),
        (usage(100, None), {"input": "2", "output": "0"}, "200"),
        (usage(0, 0), BOTH, "0"),
        (usage(100, 10), {"input": "0", "output": "0"}, "0"),
        (usage(images=3), {"image": "0.04"}, "0.12"),
        (usage(100, 10, images=3), {"image": "0.04"}, "0.12"),
        (usage(100, 10, images=3), BOTH, "250"),
        (usage(100, 10, images=3), {**BOTH, "image": "1"}, "253"),
        (usage(audio_seconds=90.0), {"audio_hour": "0.36"}, "0.009"),
    ],
)
def test_what_does_not_apply_needs_no_price(used: Usage, prices: dict[str, str], cost: str) -> None:
    assert cost_of(used, rates(**prices)) == Decimal(cost)


def test_calls_without_an_output_cost_their_input() -> None:
    prices = rates(input="2", output="5")

    assert cost_of(usage(100), prices, has_output=False) == 200
    assert cost_of(usage(100), prices) is None


def test_searches_are_charged_where_they_have_a_price_and_leave_no_cost_where_they_have_none() -> None:
    with_price, without = rates(input="2", output="5", web_search="0.01"), rates(input="2", output="5")

    assert cost_of(usage(100, 10), with_price, searches=3) == Decimal("250.03")
    assert cost_of(usage(100, 10), without, searches=3) is None
    assert cost_of(usage(100, 10), without) == 250


def test_a_tier_says_nothing_of_what_costs_something_else_in_it() -> None:
    ordinary = rates(input="2", output="5", cached_input="1", image="7")
    tier = ordinary.tier(input=Decimal(1), output=Decimal(2))

    assert cost_of(usage(100, 10), tier) == 120
    assert cost_of(usage(100, 10, cache_read_tokens=1), tier) is None
    assert cost_of(usage(100, 10, images=1), tier) is None


@settings(deadline=None)
@given(st.floats(0.001, 10**6), st.decimals(0, 100, places=6))
def test_audio_is_charged_by_the_part_of_the_hour_and_rounded_once(seconds: float, price: Decimal) -> None:
    found = cost_of(usage(audio_seconds=seconds), Rates.of(audio_hour=price))

    exact = Fraction(repr(seconds)) * Fraction(price) / 3600
    assert found is not None
    assert abs(Fraction(found) - exact) <= Fraction(1, 2 * 10**PLACES)


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        ("0.0000000000005", "0"),
        ("0.0000000000015", "2E-12"),
        ("0.0000000000025", "2E-12"),
        ("10", "10"),
        ("0.10", "0.1"),
    ],
)
def test_what_is_finer_than_the_ledger_is_rounded_half_to_even(amount: str, rounded: str) -> None:
    assert str(money(Decimal(amount))) == rounded
    assert str(money(Fraction(amount))) == rounded


@pytest.mark.parametrize("amount", [Decimal(-1), MOST, Decimal("1E+300"), Fraction(-1, 3), Fraction(10**30)])
def test_what_can_be_no_calls_cost_is_none(amount: Decimal | Fraction) -> None:
    assert money(amount) is None
