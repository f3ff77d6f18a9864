"""Turns by weight, as nginx gives them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.load_balance.weighted import MOST_SETS, MOST_STEPS, Weighted
from tests.unit.plugins.load_balance.strategies import Candidate, chosen, upstreams


class AtTheBeginning(random.Random):
    """Begins each cycle where it begins."""

    def randrange(self, *_: object) -> int:
        return 0


def nginx(weights: dict[str, int], turns: int) -> list[str]:
    """Give the turns of ngx_http_upstream_round_robin, as its source has it."""
    current = dict.fromkeys(weights, 0)
    taken = []
    for _ in range(turns):
        best, total = "", 0
        for name, weight in weights.items():
            current[name] += weight
            total += weight
            if not best or current[name] > current[best]:
                best = name
        current[best] -= total
        taken.append(best)
    return taken


def weighted(chance: random.Random | None = None) -> Weighted:
    return Weighted(PluginConfig(), chance or random.Random(6))


def test_turns_are_spread_out() -> None:
    taken = chosen(weighted(AtTheBeginning()), upstreams(a=5, b=1, c=1), 14)

    assert "".join(taken) == "aabacaa" * 2


@given(weights=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1))
def test_turns_are_those_of_nginx(weights: dict[str, int]) -> None:
    taken = chosen(weighted(AtTheBeginning()), upstreams(**weights), 100)

    assert taken == nginx(weights, 100)


@given(weights=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=1), seed=st.integers())
def test_a_process_begins_anywhere_in_nginx_s_cycle(weights: dict[str, int], seed: int) -> None:
    cycle = sum(weights.values())

    taken = chosen(weighted(random.Random(seed)), upstreams(**weights), cycle)

    turns = nginx(weights, 2 * cycle)
    assert any(taken == turns[at : at + cycle] for at in range(cycle))


@given(weights=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=1), seed=st.integers())
def test_a_cycle_gives_each_exactly_its_weight(weights: dict[str, int], seed: int) -> None:
    taken = chosen(weighted(random.Random(seed)), upstreams(**weights), 3 * sum(weights.values()))

    assert Counter(taken) == {name: 3 * weight for name, weight in weights.items()}


def test_weights_that_change_count_from_the_next_call_on() -> None:
    strategy = weighted()
    chosen(strategy, upstreams(a=1_000_000, b=1), 5000)

    assert Counter(chosen(strategy, upstreams(a=1, b=3), 40)) == {"a": 10, "b": 30}
    assert Counter(chosen(strategy, upstreams(a=3, b=1), 40)) == {"a": 30, "b": 10}


def test_small_ones_do_not_wait_for_what_a_large_one_has_taken() -> None:
    """While one is away that is 1000 times as large, those that are left share alike from their first call on."""
    large, b, c = among = upstreams(large=1000, b=1, c=1)
    strategy = weighted()
    chosen(strategy, among, 700)

    taken = chosen(strategy, [b, c], 20)

    assert Counter(taken) == {"b": 10, "c": 10}
    assert all(one != next_one for one, next_one in pairwise(taken))
    assert large.name not in taken


def test_calls_that_are_asked_again_elsewhere_do_not_disturb_the_turns_of_all() -> None:
    a, b, c = among = upstreams(a=5, b=1, c=1)
    strategy = weighted(AtTheBeginning())

    taken = []
    for _ in range(14):
        taken.append(strategy.choose(among).name)
        strategy.choose([b, c])
        strategy.choose([a, c])

    assert "".join(taken) == "aabacaa" * 2


@pytest.mark.parametrize("heavy", [1_000_000, 999_999])
def test_a_cycle_of_a_million_turns_is_begun_at_once(heavy: int) -> None:
    class Counting(random.Random):
        most = 0

        def randrange(self, *args: int) -> int:  # type: ignore[override]
            self.most = max(self.most, args[0])
            return super().randrange(*args)

    chance = Counting(1)

    chosen(weighted(chance), upstreams(a=heavy, b=7), 1)

    assert chance.most == MOST_STEPS


def test_what_is_remembered_is_bounded() -> None:
    strategy = weighted()

    for number in range(10 * MOST_SETS):
        strategy.choose([Candidate("a"), Candidate(f"u{number}")])

    assert len(strategy._cycles) <= MOST_SETS
