from __future__ import annotations

from llm_one_api.cli.supervise.backoff import Backoff


def test_each_failure_waits_twice_as_long_up_to_a_limit() -> None:
    backoff = Backoff()

    waits = [backoff.after(lived=0.1) for _ in range(9)]

    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_long_life_is_forgiven() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(lived=1)

    assert backoff.after(lived=30) == 0.5
    assert backoff.after(lived=1) == 1
