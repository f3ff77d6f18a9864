"""By weight, smoothly."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig

MOST_SETS = 256
"""Sets of upstreams whose place in their cycle is remembered."""
MOST_STEPS = 1000
"""How far into its cycle a new set begins, at most."""


class Weighted(LoadBalanceStrategy):
    """Gives each upstream its share, spread out as nginx does it: 5, 1 and 1 make a a b a c a a, not a a a a a b c.

    Which of them may have a call changes from call to call: one rests, is full, or has just failed this call. Each set
    has a cycle of its own. So one that is away saves up no turns for its return, a call's next upstream is chosen by
    weight too, and neither disturbs the cycle of them all.
    """

    def __init__(self, config: PluginConfig, chance: random.Random | None = None) -> None:
        """Begin each cycle anywhere in it, so that processes that start together do not march in step."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)
        self._cycles: dict[tuple[str, ...], _Cycle] = {}

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose the one that is due."""
        names = tuple([candidate.name for candidate in among])
        weights = [candidate.weight for candidate in among]
        cycle = self._cycles.get(names)
        if cycle is None or cycle.weights != weights:
            cycle = self._begin(names, weights)
        return among[cycle.step()]

    def _begin(self, names: tuple[str, ...], weights: list[int]) -> _Cycle:
        if len(self._cycles) >= MOST_SETS:
            self._cycles.clear()  # they begin anywhere again, which favours nobody
        cycle = self._cycles[names] = _Cycle(weights)
        for _ in range(self._chance.randrange(min(cycle.length, MOST_STEPS))):
            cycle.step()
        return cycle


class _Cycle:
    """Whose turn it is: each has its weight added, the one with most is taken and gives back what all were given."""

    __slots__ = ("_current", "_total", "weights")

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self._total = sum(weights)
        self._current = [0] * len(weights)

    @property
    def length(self) -> int:
        """Count the steps until it begins anew."""
        return self._total // math.gcd(*self.weights)

    def step(self) -> int:
        current = self._current = [now + weight for now, weight in zip(self._current, self.weights, strict=True)]
        most = max(current)
        chosen = current.index(most)
        current[chosen] = most - self._total
        return chosen
