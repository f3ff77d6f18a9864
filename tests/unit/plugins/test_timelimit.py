"""Calls that take too long."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import pytest

from llm_one_api.plugins.timelimit import EVERY, Watchdog, time_limit
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


class Deadlock:
    """A wait in C that no signal ends."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(None)
        self._mutex = ctypes.create_string_buffer(64)
        self._c.pthread_mutex_lock(self._mutex)

    def wait(self) -> None:
        self._c.pthread_mutex_lock(self._mutex)

    def end(self) -> None:
        self._c.pthread_mutex_unlock(self._mutex)


def test_a_call_that_python_cannot_end_is_noticed_from_beside_it() -> None:
    watchdog, deadlock = Watchdog(grace=0.1), Deadlock()
    told: list[str] = []

    def hung(what: str) -> None:
        told.append(what)
        deadlock.end()

    with pytest.raises(TimeoutError), watchdog.watching(hung), time_limit(0.1, "record_response", watchdog):
        deadlock.wait()
    watchdog.close()

    assert told == ["record_response took longer than 0.1 s and cannot be ended"]


def test_calls_that_end_are_not_taken_for_hung_however_many_there_are() -> None:
    watchdog = Watchdog(grace=0.1)
    told: list[str] = []
    until = time.monotonic() + 2 * EVERY + 0.5

    while time.monotonic() < until:
        with watchdog.watching(told.append), time_limit(0.5, "record_response", watchdog):
            hang(0.01)
    watchdog.close()

    assert told == []
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


def test_a_watchdog_that_was_closed_or_forked_watches_again() -> None:
    watchdog, told = Watchdog(grace=0.1), list[str]()
    with watchdog.watching(told.append):
        pass
    watchdog.close()
    child = os.fork()
    if child == 0:
        deadlock = Deadlock()
        with watchdog.watching(lambda _: os._exit(7)), time_limit(0.1, "x", watchdog):
            deadlock.wait()
        os._exit(1)

    try:
        status = wait_until(lambda: os.waitpid(child, os.WNOHANG)[1], what="the child has ended")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise

    assert os.waitstatus_to_exitcode(status) == 7
