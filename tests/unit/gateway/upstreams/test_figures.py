"""What an upstream has done of late."""

from __future__ import annotations

import pytest

from llm_one_api.gateway.upstreams.figures import NOTHING, WINDOW, Figures
from llm_one_api.stores.buckets import quantile


class Clock:
    """Stands still until it is put on, or back."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def figures(clock: Clock) -> Figures:
    return Figures(clock)


def test_an_upstream_that_had_no_calls_tells_nothing(figures: Figures) -> None:
    assert figures.told() == NOTHING


def test_what_failed_is_counted_among_all(figures: Figures) -> None:
    figures.add(failed=False, ttft=0.1, duration=1.0)
    figures.add(failed=True, ttft=None, duration=None)
    figures.add(failed=True, ttft=0.1, duration=None)

    told = figures.told()

    assert (told.requests, told.failures) == (3, 2)
    assert (sum(told.ttft.values()), sum(told.duration.values())) == (2, 1)


def test_times_can_be_told_from_the_sums(figures: Figures) -> None:
    for number in range(1, 101):
        figures.add(failed=False, ttft=number / 100, duration=number)

    told = figures.told()

    assert quantile(told.ttft, 0.5) == pytest.approx(0.5, rel=0.026)
    assert quantile(told.duration, 0.95) == pytest.approx(95, rel=0.026)


def test_minutes_are_added_up_and_the_oldest_is_let_go(figures: Figures, clock: Clock) -> None:
    for _ in range(20):
        figures.add(failed=False, ttft=0.2, duration=0.3)
        clock.now += 60

    told = figures.told()

    assert told.requests == sum(told.ttft.values()) == 14  # of the minute that has begun there is none yet
    clock.now += WINDOW
    assert figures.told() == NOTHING
    figures.add(failed=True, ttft=None, duration=None)
    assert figures.told().failures == 1


def test_a_clock_that_is_put_back_costs_figures_and_no_more(figures: Figures, clock: Clock) -> None:
    figures.add(failed=False, ttft=0.2, duration=0.3)
    clock.now -= 3600
    figures.add(failed=True, ttft=0.2, duration=0.3)

    assert figures.told().requests == 1
    clock.now += 3600
    figures.add(failed=False, ttft=0.2, duration=0.3)
    assert figures.told().requests == 1


def test_what_is_told_does_not_change_any_more(figures: Figures) -> None:
    figures.add(failed=False, ttft=0.2, duration=0.3)
    told = figures.told()

    figures.add(failed=False, ttft=0.2, duration=0.3)

    assert (told.requests, *told.ttft.values(), *told.duration.values()) == (1, 1, 1)


def test_asking_often_changes_nothing(figures: Figures, clock: Clock) -> None:
    other = Figures(clock)
    for number in range(200):
        for each in (figures, other):
            each.add(failed=number % 7 == 0, ttft=0.001 * number, duration=None)
        figures.told()
        clock.now += 17

    assert figures.told() == other.told()
