"""Any of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig


class Chance(LoadBalanceStrategy):
    """Takes any upstream, all with the same chance, whatever their weights."""

    def __init__(self, config: PluginConfig, chance: random.Random | None = None) -> None:
        """Keep nothing from one call to the next."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose any."""
        return self._chance.choice(among)
