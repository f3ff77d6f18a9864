"""Each in its turn."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig


class RoundRobin(LoadBalanceStrategy):
    """Takes the upstreams in turn, whatever their weights: the one whose last turn is longest ago.

    So one that was away is next, once, and what it would have had meanwhile goes to all the others alike.
    """

    def __init__(self, config: PluginConfig, chance: random.Random | None = None) -> None:
        """Begin anywhere, so that processes that start together do not march in step."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)
        self._last: dict[str, float] = {}
        """Whose last turn was when; below 0 for those that have had none."""
        self._turn = 0

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose the one whose last turn is longest ago."""
        last, chosen, longest = self._last, among[0], float("inf")
        for candidate in among:
            turn = last.get(candidate.name)
            if turn is None:
                turn = last[candidate.name] = -self._chance.random()
            if turn < longest:
                chosen, longest = candidate, turn
        self._turn += 1
        last[chosen.name] = self._turn
        return chosen
