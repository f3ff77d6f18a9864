"""How much a model usually puts out, learnt in this process: what is reserved for calls that set no maximum."""

from __future__ import annotations

import math
from collections import deque

UNTIL_KNOWN = 1000
"""Tokens that are taken for usual before enough was seen."""
_KEPT, _ENOUGH, _EVERY = 200, 20, 20
_MOST_MODELS = 1000


class Observed:
    """The 95th percentile of completion tokens, of each model's last calls."""

    def __init__(self, *, default: int | None) -> None:
        """Say *default* for all models, if it is given."""
        self._default = default
        self._last: dict[str, deque[int]] = {}
        self._p95: dict[str, int] = {}
        self._until_next: dict[str, int] = {}

    def saw(self, model: str, completion_tokens: int) -> None:
        """Take note of a call."""
        if self._default is not None:
            return
        last = self._last.get(model)
        if last is None:
            if len(self._last) >= _MOST_MODELS:
                return
            last = self._last[model] = deque(maxlen=_KEPT)
            self._until_next[model] = _ENOUGH
        last.append(completion_tokens)
        self._until_next[model] -= 1
        if not self._until_next[model]:
            self._until_next[model] = _EVERY
            self._p95[model] = max(1, sorted(last)[math.ceil(0.95 * len(last)) - 1])

    def usual(self, model: str) -> int:
        """Tell what 95 of 100 calls to *model* stay within, as far as was seen."""
        return self._default if self._default is not None else self._p95.get(model, UNTIL_KNOWN)
