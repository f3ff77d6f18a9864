"""Whether shares are what they should be, or only look like it: Pearson's chi-squared test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 9: 27.88}
"""What the statistic exceeds once in a thousand times, by degrees of freedom, where the shares are right."""
HARDLY_EVER = {1: 23.93, 2: 27.63, 3: 30.66}
"""What it exceeds once in a million times: for chances that are others in every run."""


def chi_squared(taken: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Tell how far the counts *taken* are from shares that go by *weights*."""
    assert set(taken) <= set(weights), "somebody took what was not theirs"
    calls, whole = sum(taken.values()), sum(weights.values())
    due = {name: calls * weight / whole for name, weight in weights.items()}
    return sum((taken.get(name, 0) - due[name]) ** 2 / due[name] for name in weights)


def assert_shares(taken: Iterable[str], weights: Mapping[str, float], critical: Mapping[int, float] = CRITICAL) -> None:
    """Assert that names were *taken* in shares that go by *weights*, as far as chance lets them."""
    counts = Counter(taken)
    assert chi_squared(counts, weights) < critical[len(weights) - 1], dict(counts)
