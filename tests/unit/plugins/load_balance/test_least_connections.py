"""The upstream with the least under way, as far as a process knows it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

import pytest

from llm_one_api.gateway.upstreams.health import Others
from llm_one_api.gateway.upstreams.member import Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.load_balance.least_connections import LeastConnections
from llm_one_api.targets import Balance, ModelRoute, Target, Upstream
from tests.harness.shares import assert_shares
from tests.unit.plugins.load_balance.strategies import PROCESSES, Candidate, chosen, made, processes, upstreams

EVERY = 0.25
"""Seconds after which a process tells how many calls it has under way, and is told of the others'."""


def test_the_fewest_for_the_weight_are_taken() -> None:
    strategy = made("least_connections")

    assert strategy.choose([Candidate("a", 1, 2), Candidate("b", 1, 1)]).name == "b"
    assert strategy.choose([Candidate("a", 4, 7), Candidate("b", 1, 2)]).name == "a"
    assert strategy.choose([Candidate("a", 1, 0), Candidate("b", 9, 1)]).name == "a"


def test_four_processes_give_idle_ones_shares_by_weight() -> None:
    taken = [name for one in processes("least_connections") for name in chosen(one, upstreams(a=3, b=2, c=1), 500)]

    assert_shares(taken, {"a": 3, "b": 2, "c": 1})


def test_calls_that_do_not_end_are_spread_exactly_by_weight() -> None:
    among = upstreams(a=3, b=2, c=1)
    crew = processes("least_connections")

    for number in range(600):
        crew[number % PROCESSES].choose(among).in_flight += 1  # type: ignore[misc]

    assert [one.in_flight for one in among] == [300, 200, 100]


@dataclass
class Farm:
    """Processes that know what they have under way themselves, and what others had up to half a second ago."""

    weights: Mapping[str, int]
    rate: float
    """Calls a second, of all processes."""
    lasting: float
    """Seconds that a call takes, on average."""
    seed: int = 0
    taken: list[str] = field(default_factory=list)
    excess: list[float] = field(default_factory=list)
    """By how many calls the fullest was above what would be its part, whenever a call came."""

    def run(self, calls: int) -> Farm:
        chance = random.Random(self.seed)
        crew = [self._process(number) for number in range(PROCESSES)]
        strategies = processes("least_connections", self.seed)
        told = [dict.fromkeys(self.weights, 0) for _ in crew]
        number = count()
        # When, what happens, which process, the upstream whose call ends.
        events: list[tuple[float, int, str, int, str]] = [
            (chance.uniform(0, EVERY), next(number), "tells", process, "") for process in range(PROCESSES)
        ]
        events.append((0.0, next(number), "comes", 0, ""))
        heapq.heapify(events)
        while len(self.taken) < calls:
            now, _, what, process, name = heapq.heappop(events)
            members = crew[process]
            if what == "tells":
                told[process] = {name: member.own_in_flight for name, member in members.items()}
                for name, member in members.items():
                    rest = sum(told[other][name] for other in range(PROCESSES) if other != process)
                    member.told(Others(in_flight=rest, processes=PROCESSES))
                heapq.heappush(events, (now + EVERY * chance.uniform(0.9, 1.1), next(number), "tells", process, ""))
            elif what == "ends":
                members[name].own_in_flight -= 1
            else:
                self._look(crew)
                process = chance.randrange(PROCESSES)
                one = strategies[process].choose(list(crew[process].values()))
                crew[process][one.name].own_in_flight += 1
                self.taken.append(one.name)
                ends = now + chance.expovariate(1 / self.lasting)
                heapq.heappush(events, (ends, next(number), "ends", process, one.name))
                heapq.heappush(events, (now + chance.expovariate(self.rate), next(number), "comes", 0, ""))
        return self

    def _process(self, number: int) -> dict[str, Member]:
        targets = tuple(
            Target(
                model="m",
                upstream_model="m",
                weight=weight,
                upstream=Upstream(name=name, base_url=f"http://{name}.invalid/v1"),
            )
            for name, weight in self.weights.items()
        )
        route = ModelRoute(model="m", targets=targets, balance=Balance(strategy="least_connections"))
        members = Members(lambda _: LeastConnections(PluginConfig(), random.Random(number)))
        return {member.name: member for member in members.group(route).all}

    def _look(self, crew: list[dict[str, Member]]) -> None:
        under_way = {name: sum(members[name].own_in_flight for members in crew) for name in self.weights}
        part = sum(under_way.values()) / sum(self.weights.values())
        self.excess.append(max(under_way[name] - part * weight for name, weight in self.weights.items()))


@pytest.mark.parametrize(("rate", "lasting"), [(200, 1.0), (200, 0.02), (40, 5.0)])
def test_counts_that_are_old_break_no_shares(rate: float, lasting: float) -> None:
    farm = Farm({"a": 1, "b": 1, "c": 1}, rate, lasting).run(1500)

    assert_shares(farm.taken, farm.weights)


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1}, {"a": 3, "b": 2, "c": 1}], ids=repr)
def test_processes_do_not_all_run_to_the_one_that_was_emptiest_when_they_heard_of_it(weights: dict[str, int]) -> None:
    """Of 200 calls under way a process hears late: if it took what it hears for new, 20 too many would be common."""
    farm = Farm(weights, 200, 1.0).run(1500)

    late = sorted(farm.excess[600:])
    assert late[len(late) // 2] < 4
    assert late[-1] < 12
