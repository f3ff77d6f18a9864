"""Each in its turn."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig


class RoundRobin(LoadBalanceStrategy):
    """Takes the upstreams in turn: the one whose last turn is longest ago."""

    def __init__(self, config: PluginConfig, chance: random.Random | None = None) -> None:
        """Begin anywhere, so that processes that start together do not march in step."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)
        self._last: dict[str, int] = {}
        self._turn = 0

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose the one whose last turn is longest ago; one that was away is next, once."""
        last = self._last
        if not last:
            among = self._chance.sample(among, len(among))
        chosen = min(among, key=lambda candidate: last.get(candidate.name, 0))
        self._turn += 1
        last[chosen.name] = self._turn
        return chosen
