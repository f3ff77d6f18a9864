"""The operator's prices: which one a call gets."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.pricing.configured import Entry, PriceList
from llm_one_api.pricing.rates import Rates

DAY = date(2026, 11, 24)


def entry(name: str, price: int = 1, since: str | None = None, until: str | None = None) -> Entry:
    return Entry(
        name=name,
        since=date.fromisoformat(since) if since else None,
        until=date.fromisoformat(until) if until else None,
        rates=Rates.of(input=Decimal(price)),
    )


def price(prices: PriceList, *names: str | None, day: date = DAY) -> Decimal | None:
    found = prices.find(names, day)
    return None if found is None or found.rates is None else found.rates.input


def test_the_first_name_that_has_a_price_decides() -> None:
    prices = PriceList([entry("answered", 1), entry("asked", 2), entry("public", 3)])

    assert price(prices, "answered", "asked", "public") == 1
    assert price(prices, "other", "asked", "public") == 2
    assert price(prices, None, None, "public") == 3
    assert price(prices, "other", None, "Public") is None


def test_whole_names_come_before_beginnings_and_long_beginnings_before_short_ones() -> None:
    prices = PriceList([entry("gpt-4*", 1), entry("gpt-4o-mini*", 2), entry("gpt-4o", 3)])

    assert price(prices, "gpt-4o-2024-08-06", "gpt-4o") == 3
    assert price(prices, "gpt-4o-mini-2024-07-18", "mini") == 2
    assert price(prices, "gpt-4o-mini", None) == 2
    assert price(prices, "gpt-4-0613", None) == 1
    assert price(prices, "gpt-3.5-turbo", None) is None


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2025-12-31", None), ("2026-01-01", 1), ("2026-06-30", 1), ("2026-07-01", 2), ("2099-01-01", 2)],
)
def test_a_price_holds_from_its_first_day_through_its_last(day: str, expected: int | None) -> None:
    prices = PriceList([entry("m", 2, since="2026-07-01"), entry("m", 1, since="2026-01-01", until="2026-06-30")])

    assert price(prices, "m", day=date.fromisoformat(day)) == expected


def test_a_name_whose_price_is_of_another_time_leaves_the_call_to_the_next() -> None:
    prices = PriceList([entry("m", 1, until="2026-01-01"), entry("m*", 2), entry("other", 3)])

    assert price(prices, "m", None) == 2
    assert price(prices, "m", "other") == 3


def test_tiers_have_prices_of_their_own_or_none() -> None:
    flex = Rates.of(input=Decimal(5))
    one = Entry(name="m", rates=Rates.of(input=Decimal(9)), tiers={"flex": flex, "auto": flex})

    assert [one.of_tier(tier) for tier in ("", "default", "standard", "on_demand")] == [one.rates] * 4
    assert one.of_tier("flex") == one.of_tier("auto") == flex
    assert one.of_tier("priority") is None


def test_who_prices_tiers_alone_says_nothing_of_the_others() -> None:
    some = Entry(name="m", rates=None, tiers={"flex": Rates.of(input=Decimal(5))})
    every = Entry(name="m", rates=Rates.of(input=Decimal(9)))

    assert [some.covers(tier) for tier in ("flex", "", "priority")] == [True, False, False]
    assert [every.covers(tier) for tier in ("flex", "", "priority")] == [True, True, True]
    assert some.of_tier("") is None


def test_it_tells_how_many_there_are() -> None:
    assert len(PriceList([entry("a", until="2026-01-01"), entry("a", since="2026-01-02"), entry("b*")])) == 3
    assert not PriceList()


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=8), st.integers(-5, 400))
def test_of_prices_that_follow_each_other_exactly_one_holds_on_each_day(lengths: list[int], offset: int) -> None:
    start = date(2026, 1, 1)
    entries, day = [], start
    for number, length in enumerate(lengths):
        last = day + timedelta(days=length - 1)
        entries.append(Entry(name="m", since=day, until=last, rates=Rates.of(input=Decimal(number))))
        day = last + timedelta(days=1)
    asked = start + timedelta(days=offset)

    found = price(PriceList(entries), "m", day=asked)

    expected = [n for n, each in enumerate(entries) if each.since <= asked <= each.until]  # type: ignore[operator]
    assert ([] if found is None else [int(found)]) == expected
