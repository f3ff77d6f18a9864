"""What the relay is promised by whoever it settles quotas with: the limit store, and what its tests have instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llm_one_api.books.relay.settling import Store
from llm_one_api.limits.charging import Charge
from llm_one_api.stores.limits import LimitStore
from tests.harness.quotas import Charged

WINDOWS = ("all:total:ever",)
Pending = Callable[[], set[str]]


@pytest.fixture(params=["in memory", "limit store"])
def made(request: pytest.FixtureRequest, redis_url: str) -> Iterator[tuple[Store, Pending]]:
    if request.param == "in memory":
        memory = Charged()
        yield memory, lambda: set(memory.pending)
        return
    store = LimitStore(redis_url, "oneapi:", timeout=5)
    store.recount(0, {})
    yield store, lambda: {name for page in store.pending() for name in page}
    store.close()


def charges(*names: str, first: int = 10) -> list[tuple[int, Charge]]:
    return [(first + 10 * n, Charge(id=name, windows=WINDOWS, tokens=1)) for n, name in enumerate(names)]


def test_what_is_behind_a_segments_mark_is_charged_and_what_is_not_is_known(made: tuple[Store, Pending]) -> None:
    store, pending = made

    store.settle("a", charges("1", "2"))
    store.settle("a", charges("one more", "not 2", "3"))
    store.settle("b", charges("4"))

    assert pending() == {"1", "2", "3", "4"}


def test_adopted_calls_have_no_marks_and_are_charged_once(made: tuple[Store, Pending]) -> None:
    store, pending = made
    store.settle("a", charges("1", first=1000))

    store.settle("a", charges("2"), adopted=True)
    store.settle("a", charges("2", "3"), adopted=True)

    assert pending() == {"1", "2", "3"}


def test_a_segment_whose_mark_is_dropped_is_charged_from_its_beginning(made: tuple[Store, Pending]) -> None:
    store, pending = made
    store.settle("a", charges("1", first=1000))

    before = store.settle("a", charges("2"))
    after = store.settle("", (), freed=["a"])
    store.settle("a", charges("1", "3"))

    assert pending() == {"1", "3"}
    assert before == after is not None
