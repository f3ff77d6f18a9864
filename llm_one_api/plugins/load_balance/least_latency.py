"""Where answers begin soonest."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig

DECAY = 10.0
"""Seconds after which a time to first byte counts a third (1/e) of what it did."""
UNKNOWN = 1e9
"""What an upstream costs that has a first call under way: more than any that is known."""


class LeastLatency(LoadBalanceStrategy):
    """Takes, of any two upstreams, the one where a call costs less: its time to first byte, times the calls under way.

    The time is a moving average that jumps to a peak at once and comes down slowly (the peak EWMA of Twitter's
    Finagle). It fades when no more is seen, so that one that was slow is tried again. Only two are compared, for if all
    processes took the best of all, they would all take the same.

    One that has not answered yet costs nothing, so that it is tried, but with one call at a time.
    """

    def __init__(
        self,
        config: PluginConfig,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without knowing any."""
        super().__init__(config)
        self._chance = chance or random.Random()  # noqa: S311 (no secret)
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}
        """The average, and when it was right."""
        self._tried: dict[str, float] = {}
        """When one that has not answered yet was chosen last."""

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose the cheaper of two."""
        chosen, now = among[0], self._clock()
        if (count := len(among)) > 1:
            # Two different ones, in any order: of two that cost the same each has its half.
            first = int(self._chance.random() * count)
            second = int(self._chance.random() * (count - 1))
            one, other = among[first], among[second + (second >= first)]
            chosen = one if self._cost(one, now) <= self._cost(other, now) else other
        if chosen.name not in self._seen:
            self._tried[chosen.name] = now
        return chosen

    def saw(self, name: str, ttft: float) -> None:
        """Take *ttft* into the average of upstream *name*."""
        now = self._clock()
        if known := self._seen.get(name):
            cost, at = known
            if ttft < cost:
                kept = math.exp((at - now) / DECAY)
                ttft = cost * kept + ttft * (1 - kept)
        self._seen[name] = ttft, now
        self._tried.pop(name, None)

    def _cost(self, candidate: Candidate, now: float) -> float:
        if known := self._seen.get(candidate.name):
            cost, at = known
            return cost * math.exp((at - now) / DECAY) * (candidate.in_flight + 1)
        # Whether it is tried is this process's own business: the calls of others would tell us nothing.
        tried = self._tried.get(candidate.name)
        return UNKNOWN + candidate.in_flight if tried is not None and now - tried < DECAY else 0.0
