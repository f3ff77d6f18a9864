"""What holds for all strategies that are built in."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.plugins import manager
from tests.unit.plugins.load_balance.strategies import STRATEGIES, Candidate, made

NAMES = list("abcdef")

every_strategy = pytest.mark.parametrize("name", STRATEGIES)
"""Once for each of them."""


@every_strategy
def test_it_is_found_as_those_of_strangers_are(name: str) -> None:
    assert manager.find("load_balance", name) is STRATEGIES[name]


def test_there_are_no_others() -> None:
    assert manager.names("load_balance") == sorted(STRATEGIES)


candidates = st.lists(
    st.builds(Candidate, st.sampled_from(NAMES), st.integers(1, 1_000_000), st.integers(0, 1000)),
    min_size=1,
    unique_by=lambda candidate: candidate.name,
)
times = st.one_of(st.none(), st.floats(0, 100))
"""What an answer of the chosen one took to begin; None: it has not begun."""


@every_strategy
@settings(max_examples=30)
@given(calls=st.lists(st.tuples(candidates, times), max_size=30), seed=st.integers())
def test_it_chooses_one_of_those_that_may_have_the_call(
    name: str, calls: list[tuple[list[Candidate], float | None]], seed: int
) -> None:
    strategy = made(name, seed)

    for among, ttft in calls:
        chosen = strategy.choose(among)

        assert any(chosen is candidate for candidate in among)
        if ttft is not None:
            strategy.saw(chosen.name, ttft)


@every_strategy
@settings(max_examples=30)
@given(held=st.lists(st.sampled_from(NAMES[:3]), max_size=50), seed=st.integers())
def test_whoever_has_come_and_gone_everybody_who_is_there_gets_calls(name: str, held: list[str], seed: int) -> None:
    strategy = made(name, seed)
    members = {name: Candidate(name) for name in NAMES[:3]}
    for away in held:
        _end_soon(strategy.choose([member for member in members.values() if member.name != away]), members)

    taken = Counter(_end_soon(strategy.choose(list(members.values())), members) for _ in range(300))

    assert min(taken[name] for name in members) > 0


def _end_soon(chosen: object, members: dict[str, Candidate]) -> str:
    """Let the call go on until three others have come."""
    assert isinstance(chosen, Candidate)
    for member in members.values():
        member.in_flight = max(0, member.in_flight - (member is not chosen))
    chosen.in_flight = min(3, chosen.in_flight + 1)
    return chosen.name
