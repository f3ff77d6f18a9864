"""Times in buckets of 5 %: their counts can be added up, over processes and hours, and still tell quantiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

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


def quantiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[float] | None:
    """Give the same for several *shares* in one go."""
    buckets = sorted(counts)
    upto = list(accumulate(map(counts.__getitem__, buckets)))
    calls = upto[-1] if upto else 0
    if calls <= 0:
        return None
    return [float(_STEP ** (buckets[bisect_left(upto, share * calls)] - 0.5)) / _MILLION for share in shares]
