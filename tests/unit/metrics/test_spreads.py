"""How the ledger's buckets become a histogram."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.metrics.spreads import BOUNDS, cumulative
from llm_one_api.stores.buckets import bucket_of

SECONDS = st.integers(0, 3_600_000_000)


@given(st.lists(SECONDS, max_size=50))
def test_each_count_is_exactly_that_of_the_times_up_to_its_bound(micros: list[int]) -> None:
    counts: dict[int, int] = {}
    for each in micros:
        counts[bucket_of(each)] = counts.get(bucket_of(each), 0) + 1

    told = cumulative(counts)

    assert told == [*(sum(each <= round(bound * 10**6) for each in micros) for bound in BOUNDS), len(micros)]


def test_a_time_that_is_a_bound_counts_as_at_most_that() -> None:
    for place, bound in enumerate(BOUNDS):
        at, over = round(bound * 10**6), round(bound * 10**6) + 1
        assert cumulative({bucket_of(at): 1})[place] == 1
        assert cumulative({bucket_of(over): 1})[place] == 0


def test_the_bounds_rise_and_are_near_the_times_that_people_ask_for() -> None:
    assert list(BOUNDS) == sorted(BOUNDS)
    assert all(any(abs(bound - asked) < 0.03 * asked for bound in BOUNDS) for asked in (0.1, 0.5, 1, 5, 10, 30, 60))
