"""The ledger's counts of times as Prometheus has them: how many calls took at most so long.

The ledger counts in buckets 5 % apart. Each bound here is the upper edge of one of them, so that what is told is exact
and not a guess: that is why they are not round.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from llm_one_api.stores.buckets import bucket_of

_MILLION = 10**6
_STEP = 1.05
_ABOUT = (
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600,
)  # fmt: skip
"""Seconds. The bounds are the edges next to these."""


def _nearest(seconds: float) -> int:
    above = bucket_of(round(seconds * _MILLION))
    return min((above - 1, above), key=lambda number: abs(_STEP**number / _MILLION - seconds))


EDGES = tuple(_nearest(seconds) for seconds in _ABOUT)
"""The buckets that end at a bound."""
BOUNDS = tuple(int(_STEP**number) / _MILLION for number in EDGES)
"""Seconds. Times are whole microseconds, so those up to an edge are those up to the last microsecond before it."""


def cumulative(counts: Mapping[int, int]) -> list[int]:
    """Tell how many calls took at most each of `BOUNDS`, and at last how many there are.

    *counts* has the number of calls by bucket.
    """
    pieces = [0] * (len(EDGES) + 1)
    for bucket, calls in counts.items():
        pieces[next((place for place, edge in enumerate(EDGES) if bucket <= edge), len(EDGES))] += calls
    return list(accumulate(pieces))
