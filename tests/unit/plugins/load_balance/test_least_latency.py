"""The upstream whose answers begin sooner, of any two."""

from __future__ import annotations

import random

import pytest

from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.load_balance.least_latency import DECAY, LeastLatency
from tests.harness.shares import assert_shares
from tests.unit.plugins.load_balance.strategies import PROCESSES, Candidate, Time, chosen, upstreams


@pytest.fixture
def time() -> Time:
    return Time()


def least_latency(time: Time, seed: int = 5, **seen: float) -> LeastLatency:
    """Make one that has *seen* an answer of each."""
    strategy = LeastLatency(PluginConfig(), random.Random(seed), time)
    for name, ttft in seen.items():
        strategy.saw(name, ttft)
    return strategy


def test_the_quick_one_of_two_gets_the_calls(time: Time) -> None:
    strategy = least_latency(time, quick=0.2, slow=0.3)

    assert set(chosen(strategy, upstreams(slow=1, quick=1), 100)) == {"quick"}


def test_calls_under_way_count(time: Time) -> None:
    quick, slow = Candidate("quick"), Candidate("slow")
    strategy = least_latency(time, quick=0.2, slow=0.5)

    taken = []
    for _ in range(7):
        one = strategy.choose([slow, quick])
        one.in_flight += 1  # type: ignore[misc]
        taken.append(one.name)

    assert (taken.count("quick"), taken.count("slow")) == (5, 2)  # which then cost the same


def test_four_processes_give_each_the_share_of_two_chances(time: Time) -> None:
    """Of any two, the better: of four, the best is in a half of the pairs, and the last one is better than nobody."""
    among = upstreams(a=1, b=1, c=1, d=1)
    crew = [least_latency(time, seed, a=0.1, b=0.2, c=0.3, d=0.4) for seed in range(PROCESSES)]

    taken = [name for strategy in crew for name in chosen(strategy, among, 500)]

    assert_shares(taken, {"a": 3, "b": 2, "c": 1})


def test_four_processes_give_equal_ones_equal_shares(time: Time) -> None:
    among = upstreams(a=1, b=1, c=1)
    crew = [least_latency(time, seed, a=0.2, b=0.2, c=0.2) for seed in range(PROCESSES)]

    taken = [name for strategy in crew for name in chosen(strategy, among, 500)]

    assert_shares(taken, {"a": 1, "b": 1, "c": 1})


def test_a_peak_counts_at_once_and_is_forgotten_slowly(time: Time) -> None:
    among = upstreams(a=1, b=1)
    strategy = least_latency(time, a=0.1, b=0.2)

    strategy.saw("a", 4.0)
    assert set(chosen(strategy, among, 20)) == {"b"}

    strategy.saw("a", 0.1)  # at the same moment: it tells nothing of the time since
    assert set(chosen(strategy, among, 20)) == {"b"}

    time.now += 3 * DECAY
    strategy.saw("a", 0.1)  # 4.0 / e³ + most of 0.1: nearly 0.3
    strategy.saw("b", 0.2)
    assert set(chosen(strategy, among, 20)) == {"b"}

    time.now += DECAY
    strategy.saw("a", 0.1)
    strategy.saw("b", 0.2)
    assert set(chosen(strategy, among, 20)) == {"a"}


def test_a_slow_one_is_tried_again_when_it_was_not_heard_of_for_long(time: Time) -> None:
    among = upstreams(slow=1, quick=1)
    strategy = least_latency(time, slow=1.0, quick=0.1)

    tried = []
    for second in range(60):
        time.now += 1
        one = strategy.choose(among).name
        strategy.saw(one, 1.0 if one == "slow" else 0.1)
        tried += [second] if one == "slow" else []

    assert tried == [24, 49]  # ln(1.0 / 0.1) times the decay, and the second since the quick one was heard of


def test_one_that_is_new_is_tried_at_once_but_with_one_call(time: Time) -> None:
    among = upstreams(new=1, known=1)
    strategy = least_latency(time, known=0.1)

    assert chosen(strategy, among, 5) == ["new", "known", "known", "known", "known"]

    strategy.saw("new", 0.05)
    assert set(chosen(strategy, among, 5)) == {"new"}


def test_one_that_is_new_is_tried_though_others_have_calls_under_way_there(time: Time) -> None:
    """Their answers would tell this process nothing."""
    strategy = least_latency(time, known=0.1)

    assert strategy.choose([Candidate("known"), Candidate("new", in_flight=9)]).name == "new"


def test_one_whose_first_call_failed_is_tried_again_after_a_while(time: Time) -> None:
    among = upstreams(new=1, known=1)
    strategy = least_latency(time, known=0.1)
    chosen(strategy, among, 1)

    time.now += DECAY - 1
    strategy.saw("known", 0.1)
    assert chosen(strategy, among, 2) == ["known", "known"]

    time.now += 1
    assert chosen(strategy, among, 2) == ["new", "known"]


def test_while_nothing_is_known_of_any_the_one_with_least_under_way_is_taken(time: Time) -> None:
    a, b = among = upstreams(a=1, b=1)
    strategy = least_latency(time)
    assert sorted(chosen(strategy, among, 2)) == ["a", "b"]

    a.in_flight, b.in_flight = 3, 2

    assert set(chosen(strategy, among, 10)) == {"b"}


def test_hours_without_a_call_do_no_harm(time: Time) -> None:
    strategy = least_latency(time, a=0.1, b=0.2)
    time.now += 1e6

    assert set(chosen(strategy, upstreams(a=1, b=1), 50)) == {"a", "b"}
