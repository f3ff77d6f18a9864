"""Times in buckets, and what they tell."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.stores.buckets import bucket_of, quantile, quantiles


@given(st.integers(1, 10**15))
def test_a_bucket_begins_where_the_one_before_ends(microseconds: int) -> None:
    number = bucket_of(microseconds)

    assert 1.05 ** (number - 1) * 0.999999 <= microseconds <= 1.05**number * 1.000001


@given(st.lists(st.integers(2, 10**9), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_that_of_the_times_themselves_but_for_a_bucket(times: list[int], share: float) -> None:
    exact = next(t for n, t in enumerate(sorted(times), 1) if n >= share * len(times))

    told = quantile(Counter(map(bucket_of, times)), share)

    assert told == pytest.approx(exact / 10**6, rel=0.026)


def test_without_calls_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({7: 0}, 0.5) is None


def test_buckets_are_added_up_in_any_order() -> None:
    assert quantile({200: 1, 10: 99}, 0.95) == quantile({10: 99, 200: 1}, 0.95) == pytest.approx(1.59e-6, rel=0.01)


@given(st.dictionaries(st.integers(0, 400), st.integers(0, 50), min_size=1).filter(lambda counts: any(counts.values())))
def test_quantiles_in_one_go_are_those_one_by_one(counts: dict[int, int]) -> None:
    shares = (0.5, 0.95, 0.99, 1.0)

    assert quantiles(counts, shares) == [quantile(counts, share) for share in shares]
