"""Upstreams to choose from, chance that is the same in every run, and a clock that stands still."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_one_api.plugins.interfaces import LoadBalanceStrategy, PluginConfig
from llm_one_api.plugins.load_balance.chance import Chance
from llm_one_api.plugins.load_balance.least_connections import LeastConnections
from llm_one_api.plugins.load_balance.least_latency import LeastLatency
from llm_one_api.plugins.load_balance.round_robin import RoundRobin
from llm_one_api.plugins.load_balance.weighted import Weighted

STRATEGIES: dict[str, Callable[..., LoadBalanceStrategy]] = {
    "round_robin": RoundRobin,
    "random": Chance,
    "weighted": Weighted,
    "least_connections": LeastConnections,
    "least_latency": LeastLatency,
}
PROCESSES = 4


@dataclass(slots=True)
class Candidate:
    """An upstream, as a strategy sees it."""

    name: str
    weight: int = 1
    in_flight: int = 0


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def upstreams(**weights: int) -> list[Candidate]:
    return [Candidate(name, weight) for name, weight in weights.items()]


def made(name: str, seed: int | str = 0) -> LoadBalanceStrategy:
    strategy: LoadBalanceStrategy = STRATEGIES[name](PluginConfig(), random.Random(seed))
    return strategy


def processes(name: str, seed: int = 0) -> list[LoadBalanceStrategy]:
    """Make the objects of as many processes, each with a chance of its own."""
    return [made(name, f"{name} {seed} {process}") for process in range(PROCESSES)]


def chosen(strategy: LoadBalanceStrategy, among: Sequence[Candidate], times: int) -> list[str]:
    return [strategy.choose(among).name for _ in range(times)]
