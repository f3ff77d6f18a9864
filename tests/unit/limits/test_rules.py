"""Which limits hold for whose calls."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.limits.rules import PERIODS, Amounts, Kind, LimitSet, Rules, scope
from llm_one_api.values import Caller

ALICE = Caller(key="key_3f9a1c22", user="alice", group="research")
LONER = Caller(key="key_00000000", user="bob")


def few(number: int) -> LimitSet:
    return LimitSet(max_concurrent=number)


EACH: dict[Kind, LimitSet] = {"key": few(1), "user": few(2), "group": few(3), "model": few(4), "all": few(5)}


def test_all_sets_hold_that_are_for_a_call_narrowest_first() -> None:
    rules = Rules(each=EACH)

    assert rules.of(ALICE, "gpt-4o") == (
        ("key:key_3f9a1c22", few(1)),
        ("user:alice", few(2)),
        ("group:research", few(3)),
        ("model:gpt-4o", few(4)),
        ("all", few(5)),
    )


def test_whoever_is_in_no_group_is_under_no_groups_limits() -> None:
    assert [whom for whom, _ in Rules(each=EACH).of(LONER, "m")] == ["key:key_00000000", "user:bob", "model:m", "all"]


@pytest.mark.parametrize(
    ("kind", "name"), [("key", "key_3f9a1c22"), ("user", "alice"), ("group", "research"), ("model", "gpt-4o")]
)
def test_a_set_of_ones_own_stands_instead_of_that_for_each(kind: Kind, name: str) -> None:
    rules = Rules(each=EACH, named={kind: {name: few(9)}})

    found = dict(rules.of(ALICE, "gpt-4o"))
    others = dict(rules.of(Caller(key="key_11111111", user="carol", group="sales"), "other"))

    assert found[scope(kind, name)] == few(9)
    assert few(9) not in others.values()


def test_whoever_has_a_set_without_limits_is_not_limited_there() -> None:
    rules = Rules(each={"user": few(2), "all": few(5)}, named={"user": {"alice": LimitSet()}})

    assert rules.of(ALICE, "m") == (("all", few(5)),)


@pytest.mark.parametrize(
    "rules",
    [Rules(each=EACH, exempt_keys=frozenset({"key_3f9a1c22"})), Rules(each=EACH, exempt_users=frozenset({"alice"}))],
    ids=["key", "user"],
)
def test_the_exempt_are_under_no_limit_at_all(rules: Rules) -> None:
    assert rules.of(ALICE, "gpt-4o") == ()
    assert rules.of(LONER, "gpt-4o") != ()


def test_names_of_one_kind_are_not_those_of_another() -> None:
    rules = Rules(named={"user": {"research": few(1)}, "group": {"alice": few(2)}, "model": {"key_3f9a1c22": few(3)}})

    assert rules.of(ALICE, "gpt-4o") == ()


@pytest.mark.parametrize(
    ("one", "rates", "quotas"),
    [
        (LimitSet(), False, False),
        (LimitSet(requests_per_minute=1), True, False),
        (LimitSet(tokens_per_minute=1), True, False),
        (LimitSet(max_concurrent=1), True, False),
        (LimitSet(day=Amounts(tokens=1)), False, True),
        (LimitSet(month=Amounts(requests=1)), False, True),
        (LimitSet(total=Amounts(cost=Decimal(1))), False, True),
        (LimitSet(action="throttle", throttled_to=9), False, False),
        (LimitSet(requests_per_minute=1, total=Amounts(tokens=1)), True, True),
    ],
)
def test_a_set_tells_what_it_limits(one: LimitSet, rates: bool, quotas: bool) -> None:
    assert (one.has_rates, one.has_quotas) == (rates, quotas)
    assert Rules(each={"key": one}).are_none is not (rates or quotas)
    assert Rules(named={"key": {"key_3f9a1c22": one}}).are_none is not (rates or quotas)


@pytest.mark.parametrize("period", PERIODS)
def test_prices_are_needed_where_some_quota_is_in_money(period: str) -> None:
    money = LimitSet(**{period: Amounts(cost=Decimal(1))})  # type: ignore[arg-type]

    assert Rules(each={"all": money}).limit_cost
    assert Rules(named={"user": {"alice": money}}).limit_cost
    assert not Rules(each={"all": LimitSet(day=Amounts(tokens=1, requests=1))}).limit_cost


NAMES = st.sampled_from(["a", "b", "c"])
SETS = st.builds(
    LimitSet,
    requests_per_minute=st.none() | st.integers(1, 3),
    day=st.builds(Amounts, tokens=st.none() | st.integers(1, 3)),
)
KINDS: list[Kind] = ["key", "user", "group", "model", "all"]
RULES = st.builds(
    Rules,
    each=st.dictionaries(st.sampled_from(KINDS), SETS),
    named=st.dictionaries(st.sampled_from(KINDS[:-1]), st.dictionaries(NAMES, SETS)),
    exempt_keys=st.frozensets(NAMES, max_size=1),
    exempt_users=st.frozensets(NAMES, max_size=1),
)
CALLERS = st.builds(Caller, key=NAMES, user=NAMES, group=st.none() | NAMES)


@given(RULES, CALLERS, NAMES)
def test_whatever_the_rules_each_scope_has_one_set_with_limits_in_it(rules: Rules, caller: Caller, model: str) -> None:
    found = rules.of(caller, model)

    scopes = [whom for whom, _ in found]
    assert scopes == sorted(set(scopes), key=scopes.index)
    assert all(one.has_rates or one.has_quotas for _, one in found)
    if rules.are_none or caller.key in rules.exempt_keys or caller.user in rules.exempt_users:
        assert found == ()


@pytest.mark.parametrize(
    ("name", "stands"), [("a\0b", "user:a\ufffdb"), ("a\udc80b", "user:a\\udc80b"), ("李:雷", "user:李:雷")]
)
def test_a_name_stands_in_its_scope_as_it_stands_in_the_ledger(name: str, stands: str) -> None:
    assert scope("user", name) == stands
