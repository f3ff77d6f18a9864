"""What a call that has ended is charged to its quota windows."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.limits.charging import Charge, charge_of, tokens_of, with_cost
from llm_one_api.limits.money import nanos_of
from llm_one_api.pricing import Entry, PriceList, Pricer, Rates
from llm_one_api.stores.journal.entries import Closed, decode, encode
from llm_one_api.values import NO_USAGE, Outcome, Permit, Usage, UsageRecord
from tests.harness.records import bare, record

WINDOWS = ("user:alice:day:2026-11-24", "all:total:ever")
PERMIT = Permit(windows=WINDOWS, tokens=300, input_tokens=40)
RATES = Rates.of(input=Decimal("0.001"), output=Decimal("0.002"))
FIGURES = st.one_of(st.none(), st.integers(0, 2**40))
USAGES = st.builds(Usage, prompt_tokens=FIGURES, completion_tokens=FIGURES, total_tokens=FIGURES)
OUTCOMES: list[Outcome] = [
    "success", "client_error", "upstream_error", "timeout", "truncated", "stream_error", "client_gone", "aborted",
]  # fmt: skip


def priced(one: UsageRecord, *, model: str = "gpt-4") -> UsageRecord:
    """Put on *one* what it costs where *model* is the only one that has a price, and it is the operator's."""
    pricer = Pricer(PriceList([Entry(name=model, rates=RATES)]), UTC)
    return with_cost(one, pricer.price)


def charged(**changes: Any) -> UsageRecord:
    fields = {"model": "gpt-4", "upstream_model": None, "cost": None, "quota_windows": WINDOWS, "quota_tokens": 170}
    return record(**{**fields, **changes})


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_call_is_charged_the_tokens_that_are_told(outcome: Outcome) -> None:
    assert tokens_of(outcome, Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170), PERMIT) == 170
    assert tokens_of(outcome, Usage(prompt_tokens=50, completion_tokens=120), PERMIT) == 170
    assert tokens_of(outcome, Usage(prompt_tokens=50), PERMIT) == 50
    assert tokens_of(outcome, Usage(completion_tokens=120), PERMIT) == 160


@pytest.mark.parametrize(
    ("outcome", "tokens"),
    [(outcome, 0 if outcome in {"client_error", "upstream_error"} else 40) for outcome in OUTCOMES],
)
def test_a_call_of_which_nothing_is_known_is_charged_its_input_unless_no_upstream_took_it(
    outcome: Outcome, tokens: int
) -> None:
    assert tokens_of(outcome, NO_USAGE, PERMIT) == tokens


def test_what_has_no_tokens_is_charged_its_input() -> None:
    assert tokens_of("success", Usage(images=2), PERMIT) == 40


@given(outcome=st.sampled_from(OUTCOMES), usage=USAGES, known=st.integers(0, 2**30))
def test_no_charge_is_negative_or_leaves_out_what_is_known(outcome: Outcome, usage: Usage, known: int) -> None:
    tokens = tokens_of(outcome, usage, Permit(windows=WINDOWS, input_tokens=known))

    assert tokens >= 0
    if usage.total_tokens is None:
        assert tokens >= (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    else:
        assert tokens == usage.total_tokens


def test_the_windows_are_charged_what_the_call_costs() -> None:
    done = priced(charged())

    assert done.cost == done.quota_cost == Decimal("0.29")
    assert charge_of(done) == Charge(id=done.request_id, windows=WINDOWS, tokens=170, nanos=290_000_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": NO_USAGE, "usage_source": "none"},
        {"usage": Usage(prompt_tokens=9), "usage_source": "partial"},
        {"usage_faults": ("cache_read_tokens > prompt_tokens",)},
    ],
)
def test_where_a_calls_cost_is_not_known_its_charged_tokens_are_priced_as_input(changes: dict[str, Any]) -> None:
    done = priced(charged(quota_tokens=40, **changes))

    assert done.cost is None
    assert done.price_source is None
    assert done.usage == changes.get("usage", done.usage)
    assert done.quota_cost == Decimal("0.04")


def test_a_call_that_was_charged_no_token_is_charged_no_money() -> None:
    done = priced(charged(outcome="client_error", usage=NO_USAGE, usage_source="none", quota_tokens=0))

    assert done.cost is None
    assert done.quota_cost == Decimal(0)


def test_a_call_whose_model_has_no_price_is_charged_its_tokens_alone() -> None:
    done = priced(charged(), model="another")

    assert (done.cost, done.quota_cost) == (None, None)
    assert charge_of(done) == Charge(id=done.request_id, windows=WINDOWS, tokens=170, nanos=0)


def test_a_call_that_no_quota_holds_for_is_priced_once_and_charged_nothing() -> None:
    asked: list[UsageRecord] = []

    def price(one: UsageRecord) -> UsageRecord:
        asked.append(one)
        return one

    done = with_cost(bare(), price)

    assert len(asked) == 1
    assert done.quota_cost is None
    assert charge_of(done) is None


@given(places=st.integers(0, 12), figure=st.integers(0, 10**18))
def test_money_is_rounded_up_to_whole_billionths(places: int, figure: int) -> None:
    cost = Decimal(figure).scaleb(-places)

    nanos = nanos_of(cost)

    assert 0 <= nanos - Fraction(cost) * 10**9 < 1


@given(usage=USAGES, tokens=st.integers(0, 2**42), faults=st.sampled_from([(), ("prompt_tokens is negative",)]))
def test_who_prices_a_record_later_or_twice_finds_the_same_charge(
    usage: Usage, tokens: int, faults: tuple[str, ...]
) -> None:
    one = charged(usage=usage, quota_tokens=tokens, usage_faults=faults)
    written = decode(encode(Closed(record=one)))
    assert isinstance(written, Closed)

    done = priced(one)

    assert priced(written.record) == done
    assert charge_of(priced(done)) == charge_of(done)


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-1", "1e30"])
def test_what_is_no_cost_does_not_keep_a_call_from_being_charged(cost: str) -> None:
    charge = charge_of(charged(quota_cost=Decimal(cost), quota_tokens=2**62))

    assert charge is not None
    assert 0 <= charge.nanos <= 2**50
    assert 0 <= charge.tokens <= 2**50
