"""Where least is under way."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig


class LeastConnections(LoadBalanceStrategy):
    """Takes the upstream with the fewest calls under way for its weight, as nginx does it.

    Of several that have as few, any, each as often as its weight says: so it goes by weight when all are idle.
    """

    def __init__(self, config: PluginConfig, chance: random.Random | None = None) -> None:
        """Keep nothing from one call to the next."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose the one with the least to do."""
        fewest = float("inf")
        chosen: list[Candidate] = []
        for candidate in among:
            load = candidate.in_flight / candidate.weight
            if load < fewest:
                fewest, chosen = load, [candidate]
            elif load == fewest:
                chosen.append(candidate)
        if len(chosen) == 1:
            return chosen[0]
        return self._chance.choices(chosen, [candidate.weight for candidate in chosen])[0]
