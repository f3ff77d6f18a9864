"""Calls that take too long."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from llm_one_api.plugins.timelimit import time_limit
from tests.harness.processes import wait_until


def hang(seconds: float = 30) -> None:
    threading.Event().wait(seconds)


def test_a_call_that_hangs_is_ended_and_named() -> None:
    with (
        pytest.raises(TimeoutError, match=r"record_response took longer than 0\.05 s"),
        time_limit(0.05, "record_response"),
    ):
        hang()


def test_an_except_in_the_call_does_not_keep_it_going() -> None:
    def stubborn() -> None:
        while True:
            try:
                hang()
            except Exception:
                continue

    with pytest.raises(TimeoutError), time_limit(0.05, "x"):
        stubborn()


def test_a_bare_except_only_delays_it() -> None:
    tries = []

    def more_stubborn() -> None:
        while True:
            try:
                hang()
            except:  # noqa: E722
                tries.append(1)
                if len(tries) == 2:
                    raise

    with pytest.raises(TimeoutError), time_limit(0.05, "x"):
        more_stubborn()

    assert len(tries) == 2


def test_an_alarm_from_before_still_rings_at_its_time() -> None:
    rang: list[float] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    began = time.monotonic()
    before = signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with time_limit(10, "x"):
            hang(0.05)
        wait_until(lambda: rang, what="the earlier alarm")
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)

    assert rang[0] - began > 0.45


def test_in_another_thread_a_call_runs_without_the_alarm() -> None:
    done = []

    def work() -> None:
        with time_limit(0.01, "x"):
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                hang(0.01)
        done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [1]
