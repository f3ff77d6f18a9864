"""Rates and calls at a time that one process keeps by itself while the limit store is away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.gateway.local import MINUTE, Local


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_process_keeps_its_share_rounded_up() -> None:
    local = Local(4)

    assert [local.share(limit) for limit in (1, 4, 5, 60)] == [1, 1, 2, 15]


def test_what_is_over_the_share_waits_until_its_minute_is_over() -> None:
    clock = Clock()
    local = Local(2, clock=clock)
    for _ in range(3):
        assert local.retry_in("user:alice", "requests", 6, 1) is None
        local.use("user:alice", "requests", 1)

    wait = local.retry_in("user:alice", "requests", 6, 1)

    assert wait is not None
    assert 0 < wait <= MINUTE + 1
    clock.now += wait
    assert local.retry_in("user:alice", "requests", 6, 1) is None


def test_what_is_more_than_the_share_has_a_minute_of_its_own() -> None:
    clock = Clock()
    local = Local(4, clock=clock)

    first = local.retry_in("user:alice", "tokens", 100, 80)
    local.use("user:alice", "tokens", 80)
    second = local.retry_in("user:alice", "tokens", 100, 1)

    assert first is None
    assert second is not None


def test_scopes_and_kinds_are_apart() -> None:
    local = Local(1, clock=Clock())
    local.use("user:alice", "requests", 5)

    assert local.retry_in("user:alice", "requests", 5, 1) is not None
    assert local.retry_in("user:alice", "tokens", 5, 1) is None
    assert local.retry_in("user:bob", "requests", 5, 1) is None


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=200), st.integers(5, 40))
def test_no_sixty_seconds_have_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    clock = Clock()
    local = Local(1, clock=clock)
    used: list[tuple[float, int]] = []

    for pause, amount in steps:
        clock.now += pause
        if local.retry_in("all", "tokens", limit, amount) is None:
            local.use("all", "tokens", amount)
            used.append((clock.now, amount))

    for begin, _ in used:
        assert sum(amount for at, amount in used if begin <= at < begin + MINUTE) <= limit


def test_calls_at_a_time_are_counted_by_scope() -> None:
    local = Local(1)
    local.enter("user:alice")
    assert local.is_full("user:alice", 1)
    assert not local.is_full("user:bob", 1)

    local.leave("user:alice")

    assert not local.is_full("user:alice", 1)
