"""How many calls came in the last minute, and how many are under way, by whose they are."""

from __future__ import annotations

from llm_one_api.gateway.pulse import Pulse
from llm_one_api.gateway.watch import Bounds, Watch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


def test_calls_count_for_sixty_whole_seconds_once_their_second_is_over() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    seen = []
    for key in ("a", "a", "b"):
        pulse.beat(key)
    for seconds in (0, 1, 59, 1):
        clock.now += seconds
        pulse.turn()
        seen.append(pulse.by_key())

    assert seen == [{}, {"a": 2, "b": 1}, {"a": 2, "b": 1}, {}]


def test_calls_of_many_seconds_are_added_up() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for _ in range(600):
        clock.now += 0.5
        pulse.turn()
        pulse.beat("a")

    assert pulse.by_key() == {"a": 120}


def test_silence_is_nothing() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.beat("a")
    clock.now += 100_000

    assert pulse.by_key() == {}


def test_the_watch_tells_who_is_in_the_house_and_who_came() -> None:
    clock = Clock()
    watch = Watch(Bounds(), clock)
    visits = [watch.enter(-1, key=key) for key in ("a", "a", "b")]
    watch.leave(visits[2])
    clock.now += 1
    watch.tick()
    watch.enter(-1, key="c")

    assert watch.calls() == {"a": (2, 2), "b": (0, 1), "c": (1, 0)}
