"""The shares of strategies whose choice does not depend on what calls do, over the objects of four processes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.harness.shares import assert_shares
from tests.unit.plugins.load_balance.strategies import Candidate, chosen, made, processes, upstreams

UPSTREAMS = {
    "two": upstreams(a=1, b=1),
    "three": upstreams(a=1, b=1, c=1),
    "three weights": upstreams(a=5, b=3, c=1),
    "one in a hundred": upstreams(a=99, b=1),
    "ten": [Candidate(f"u{number}", number + 1) for number in range(10)],
}
CALLS = 2000
DUE = {"round_robin": "alike", "random": "alike", "weighted": "by weight"}


@pytest.mark.parametrize("among", UPSTREAMS.values(), ids=UPSTREAMS)
@pytest.mark.parametrize(("name", "due"), DUE.items())
def test_four_processes_give_each_upstream_its_share(name: str, due: str, among: list[Candidate]) -> None:
    taken = [taken for strategy in processes(name) for taken in chosen(strategy, among, CALLS // 4)]

    assert_shares(taken, {one.name: one.weight if due == "by weight" else 1 for one in among})


@pytest.mark.parametrize("among", UPSTREAMS.values(), ids=UPSTREAMS)
@pytest.mark.parametrize(
    ("name", "due"), [*DUE.items(), ("least_connections", "by weight"), ("least_latency", "alike")]
)
def test_the_first_call_of_a_process_may_go_to_any(name: str, due: str, among: list[Candidate]) -> None:
    """Processes that start together do not march in step."""
    taken = [made(name, f"{name} {number}").choose(among).name for number in range(CALLS)]

    assert_shares(taken, {one.name: one.weight if due == "by weight" else 1 for one in among})


@pytest.mark.parametrize(("name", "due"), DUE.items())
def test_with_an_upstream_away_the_others_have_its_part_in_their_shares(name: str, due: str) -> None:
    a, b, c = among = upstreams(a=5, b=3, c=1)
    crew = processes(name, seed=1)
    for strategy in crew:
        chosen(strategy, among, 7)

    taken = [taken for strategy in crew for taken in chosen(strategy, [a, c], CALLS // 4)]

    assert_shares(taken, {one.name: one.weight if due == "by weight" else 1 for one in (a, c)})
    assert b.name not in taken


@pytest.mark.parametrize("name", ["round_robin", "weighted"])
def test_an_upstream_that_fails_each_call_leaves_no_neighbour_with_its_part(name: str) -> None:
    """Its calls are asked again elsewhere: with all others alike, and not with the one that stands next."""
    a, b, c = among = upstreams(a=1, b=1, c=1)
    strategy = made(name)

    taken = []
    for _ in range(CALLS):
        first = strategy.choose(among)
        taken.append((strategy.choose([b, c]) if first is a else first).name)

    assert_shares(taken, {"b": 1, "c": 1})


@pytest.mark.parametrize("name", ["round_robin", "weighted"])
def test_an_upstream_that_comes_back_gets_no_burst(name: str) -> None:
    a, b, c = among = upstreams(a=1, b=1, c=1)
    strategy = made(name)
    chosen(strategy, among, 4)
    chosen(strategy, [a, c], 1000)

    back = chosen(strategy, among, 12)

    assert Counter(back) == {"a": 4, "b": 4, "c": 4}
    assert all(Counter(back[at : at + 4])["b"] <= 2 for at in range(9))
    assert b.name in back[:3]


def test_in_turn_is_in_turn() -> None:
    taken = chosen(made("round_robin"), upstreams(a=1, b=1000, c=1), 9)

    assert sorted(taken[:3]) == ["a", "b", "c"]
    assert taken == taken[:3] * 3


def test_one_that_is_new_gets_its_turn_and_no_more() -> None:
    strategy = made("round_robin")
    chosen(strategy, upstreams(a=1, b=1), 1000)

    taken = chosen(strategy, upstreams(a=1, b=1, c=1), 6)

    assert taken[0] == "c"
    assert Counter(taken) == {"a": 2, "b": 2, "c": 2}
