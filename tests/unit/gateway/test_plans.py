"""What is asked of the limit store for a call."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from llm_one_api.gateway.plans import NO_LIMIT, Limit, Plans
from llm_one_api.limits.rules import Amounts, LimitSet, Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.values import Caller

ALICE = Caller(key="key_3f9a1c22", user="alice", group="research")
SHANGHAI = ZoneInfo("Asia/Shanghai")


def at(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


class Clock:
    def __init__(self, text: str) -> None:
        self.now = at(text)

    def __call__(self) -> float:
        return self.now


def test_a_caller_without_limits_has_an_empty_plan() -> None:
    rules = Rules(named={"user": {"bob": LimitSet(requests_per_minute=1)}})

    plan = Plans(rules, Calendar(SHANGHAI)).of(ALICE, "gpt-4o")

    assert plan.is_empty


def test_all_sets_of_a_call_hold_at_once() -> None:
    rules = Rules(
        each={"key": LimitSet(requests_per_minute=60), "all": LimitSet(max_concurrent=100, action="shadow")},
        named={"user": {"alice": LimitSet(tokens_per_minute=9)}, "model": {"gpt-4o": LimitSet(requests_per_minute=5)}},
    )

    plan = Plans(rules, Calendar(SHANGHAI)).of(ALICE, "gpt-4o")

    assert plan.requests == (Limit("key:key_3f9a1c22", 60, "reject"), Limit("model:gpt-4o", 5, "reject"))
    assert plan.tokens == (Limit("user:alice", 9, "reject"),)
    assert plan.slots == (("all", 100, 2),)
    assert plan.rates(7) == [
        ("key:key_3f9a1c22", "rpm", 60, 1, 0),
        ("model:gpt-4o", "rpm", 5, 1, 0),
        ("user:alice", "tpm", 9, 7, 0),
    ]


def test_quotas_name_the_windows_of_the_zone() -> None:
    one = LimitSet(day=Amounts(tokens=1000), month=Amounts(cost=Decimal("1.5")), total=Amounts(requests=7))
    rules = Rules(each={"user": one})

    plan = Plans(rules, Calendar(SHANGHAI), Clock("2026-11-30T23:59:59+08:00")).of(ALICE, "gpt-4o")

    assert plan.windows == ("user:alice:day:2026-11-30", "user:alice:month:2026-11", "user:alice:total:ever")
    assert [quota[1:4] for quota in plan.quotas] == [
        (1000, NO_LIMIT, NO_LIMIT),
        (NO_LIMIT, NO_LIMIT, 1_500_000_000),
        (NO_LIMIT, 7, NO_LIMIT),
    ]
    assert plan.until == at("2026-12-01T00:00:00+08:00")
    assert plan.limits_cost


def test_a_plan_is_kept_until_a_window_ends() -> None:
    clock = Clock("2026-11-24T12:00:00+08:00")
    plans = Plans(Rules(each={"user": LimitSet(day=Amounts(tokens=1))}), Calendar(SHANGHAI), clock)
    first = plans.of(ALICE, "gpt-4o")

    clock.now = at("2026-11-24T23:59:59+08:00")
    kept = plans.of(ALICE, "gpt-4o")
    clock.now = at("2026-11-25T00:00:00+08:00")
    next_day = plans.of(ALICE, "gpt-4o")

    assert kept is first
    assert next_day.windows == ("user:alice:day:2026-11-25",)


def test_windows_go_by_the_stores_clock_once_it_was_found_to_differ() -> None:
    clock = Clock("2026-11-24T23:59:58+08:00")
    plans = Plans(Rules(each={"user": LimitSet(day=Amounts(tokens=1))}), Calendar(SHANGHAI), clock)
    plans.of(ALICE, "gpt-4o")

    plans.set_clock(at("2026-11-25T00:00:03+08:00"))

    assert plans.of(ALICE, "gpt-4o").windows == ("user:alice:day:2026-11-25",)
