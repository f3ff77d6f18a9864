"""Times in buckets of 5 %: their counts can be added up, over processes and hours, and still tell quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_STEP = 1.05
_per_log = 1 / math.log(_STEP)
_MILLION = 10**6


def bucket_of(microseconds: int) -> int:
    """Give the number of a time's bucket: the least n with *microseconds* ≤ 1.05 ** n."""
    return math.ceil(math.log(microseconds) * _per_log) if microseconds > 1 else 0


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Give the time, in seconds, that *share* of the calls took at most; at most 2.5 % off. None: there are no calls.

    *counts* has the number of calls by bucket.
    """
    rank = share * sum(counts.values())
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0 < counts[bucket]:
            return float(_STEP ** (bucket - 0.5)) / _MILLION
    return None


def quantiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[float]:
    """Give the same for several *shares*, in rising order, in one go. There has to be a call."""
    total = sum(counts.values())
    ranks = [share * total for share in shares]
    found: list[float] = []
    upto = 0
    for bucket in sorted(counts):
        upto += counts[bucket]
        while len(found) < len(ranks) and ranks[len(found)] <= upto and counts[bucket]:
            found.append(float(_STEP ** (bucket - 0.5)) / _MILLION)
    return found
