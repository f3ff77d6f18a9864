"""Sources that are slow, fail or hang, and what a scrape gets then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.core import Metric
from structlog.testing import capture_logs

from llm_one_api.metrics.exporter import Exporter
from llm_one_api.metrics.families import gauge
from llm_one_api.metrics.names import chosen
from llm_one_api.metrics.sources import FRESH_SECONDS, KEPT_SECONDS, Source
from tests.harness.metrics import Samples, samples, value


class Clock:
    """A clock that a test sets. Waiting is real, so patience is short."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Book:
    """Something to read: gives a number, fails, or hangs until it is let go."""

    def __init__(self) -> None:
        self.number: float | None = 7
        self.read = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> Sequence[Metric]:
        self.read += 1
        assert self.go.wait(30)
        if self.number is None:
            raise ConnectionError("postgresql://user:s3cret@host")
        return [gauge("dead_letters", self.number)]


class Scene:
    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.books = {name: Book() for name in names or ("ledger",)}
        self.sources = [Source(name, book, self.clock) for name, book in self.books.items()]
        self.exporter = Exporter(self._sources, self.clock, patience=0.2)
        self.wanted = chosen(None, users=False)

    def _sources(self) -> Any:
        return self.sources, self.wanted

    def scrape(self) -> Samples:
        return samples(self.exporter.collect())

    @property
    def book(self) -> Book:
        return self.books["ledger"]


def up(of: Samples, source: str = "ledger") -> float | None:
    return value(of, "llm_exporter_source_up", source=source)


def test_a_scrape_gets_what_was_just_read() -> None:
    scene = Scene()

    first = scene.scrape()
    scene.book.number = 8
    scene.clock.now += FRESH_SECONDS + 1
    second = scene.scrape()

    assert [(value(of, "llm_dead_letters"), up(of)) for of in (first, second)] == [(7, 1), (8, 1)]


def test_scrapes_that_come_together_cost_one_reading() -> None:
    scene = Scene()

    for _ in range(3):
        scene.scrape()

    assert scene.book.read == 1


def test_what_cannot_be_read_is_left_out_and_never_a_zero_and_it_is_said_once() -> None:
    scene = Scene("ledger")
    scene.scrape()
    scene.book.number = None

    with capture_logs() as logs:
        for _ in range(3):
            scene.clock.now += FRESH_SECONDS + 1
            away = scene.scrape()
        scene.book.number = 9
        back = scene.scrape()

    assert (value(away, "llm_dead_letters"), up(away)) == (None, 0)
    assert (value(back, "llm_dead_letters"), up(back)) == (9, 1)
    assert [(log["event"], log["source"]) for log in logs] == [("metrics.away", "ledger"), ("metrics.back", "ledger")]
    assert "s3cret" not in str(logs)


def test_a_source_that_hangs_holds_up_no_scrape_and_costs_no_other_source() -> None:
    scene = Scene("ledger", "redis")
    scene.wanted = frozenset({*scene.wanted})
    scene.books["redis"].number = None
    scene.book.go.clear()

    told = scene.scrape()
    asked = scene.book.read
    scene.scrape()

    assert (up(told), up(told, "redis")) == (0, 0)
    assert asked == scene.book.read == 1
    scene.book.go.set()


def test_a_source_that_is_slower_than_a_scrape_waits_is_told_as_it_was_for_a_while() -> None:
    scene = Scene()
    scene.scrape()
    scene.clock.now += FRESH_SECONDS + 1
    scene.book.go.clear()

    # Its time is over by this clock, which stands still while it waits.
    late = until(scene, 0.0)
    scene.clock.now += KEPT_SECONDS
    gone = until(scene, 0.0)

    assert (value(late, "llm_dead_letters"), up(late)) == (7, 1)
    assert (value(gone, "llm_dead_letters"), up(gone)) == (None, 0)
    scene.book.go.set()


def until(scene: Scene, patience: float) -> Samples:
    scene.exporter = Exporter(scene._sources, scene.clock, patience=patience)
    return scene.scrape()


def test_only_what_was_chosen_is_served_and_what_the_exporter_says_of_itself_always() -> None:
    scene = Scene()
    scene.wanted = chosen(["error_rate", "llm_request_total"], users=False)

    told = scene.scrape()

    assert value(told, "llm_dead_letters") is None
    assert up(told) == 1


def test_a_read_that_is_replaced_is_the_one_that_is_asked_from_then_on() -> None:
    scene = Scene()
    scene.scrape()
    other: Callable[[], Sequence[Metric]] = lambda: [gauge("dead_letters", 3)]  # noqa: E731

    scene.sources[0].read = other
    scene.clock.now += FRESH_SECONDS + 1

    assert value(scene.scrape(), "llm_dead_letters") == 3
