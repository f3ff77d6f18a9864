"""The limit store's connection: it waits no longer than it was told to, and never takes one answer for another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit
from tests.harness.processes import ROOT
from tests.harness.services import Redis, Valkey, valkey


@pytest.fixture(scope="module", params=[Valkey, Redis], ids=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that tests pause and kill; they leave it running."""
    with valkey(tmp_path_factory.mktemp("limits"), request.param) as it:
        yield it


def admit(scope: str) -> Admit:
    return Admit(id="1", tokens=0, nanos=0, allow_unwhole=False, rates=[(scope, "rpm", 5, 1, 0)])


def used(store: LimitStore, scope: str) -> int:
    return store.minutes([(scope, "rpm")])[0].used


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_said(server: Valkey) -> None:
    with closing(LimitStore(server.url, "t:", timeout=0.05)) as store:
        store.run([])
        server.pause()
        began = time.monotonic()
        try:
            with pytest.raises(redis.TimeoutError):
                store.run([admit("paused")])
        finally:
            server.resume()

        assert 0.04 < time.monotonic() - began < 5


def test_an_answer_that_came_too_late_is_never_taken_for_the_next_ones(server: Valkey) -> None:
    with closing(LimitStore(server.url, "t:", timeout=0.5)) as store:
        store.run([])
        server.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                store.run([admit("late"), admit("late")])
        finally:
            server.resume()

        replies = store.run([admit("next")])

        assert [list(reply.requests)[:2] for reply in replies] == [[5, 4]]
        assert (used(store, "late"), used(store, "next")) == (2, 1)  # what got no answer was done all the same


def test_a_server_that_was_started_anew_is_given_the_scripts_again(server: Valkey) -> None:
    with closing(LimitStore(server.url, "t:", timeout=5)) as store:
        store.run([admit("restart")])
        server.kill()
        with pytest.raises(redis.ConnectionError):
            store.run([admit("restart")])
        server.start()

        store.run([admit("restart")])

        assert used(store, "restart") in {1, 2}  # the last second before a kill may be lost


def test_a_server_that_was_told_to_forget_its_scripts_is_given_them_again(server: Valkey) -> None:
    with closing(LimitStore(server.url, "t:", timeout=5)) as store:
        store.run([admit("forgot")])
        with server.client() as client:
            client.script_flush()

        assert [reply.code for reply in store.run([admit("forgot")])] == ["admitted"]


def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    with (
        closing(LimitStore(f"unix://{tmp_path}/nobody", "t:", timeout=5)) as store,
        pytest.raises(redis.ConnectionError),
    ):
        store.run([])


GREEN = """
import os, signal, sys, time
import gevent, gevent.monkey
gevent.monkey.patch_all()
import redis
from llm_one_api.stores.limits import LimitStore

url, pid = sys.argv[1], int(sys.argv[2])
store = LimitStore(url, "t:", timeout=0.3)
store.run([])

# Others go on while one waits.
turns = 0
def go_on():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.01)
other = gevent.spawn(go_on)
os.kill(pid, signal.SIGSTOP)
try:
    store.run([])
except redis.TimeoutError:
    assert turns > 2, turns
else:
    raise AssertionError("a paused server has answered")
finally:
    os.kill(pid, signal.SIGCONT)
other.kill()
store.close()

# One that keeps the hub busy for longer than the timeout: the answer is there all the same.
def compute():
    until = time.perf_counter() + 0.6
    while time.perf_counter() < until:
        pass
store.run([])
os.kill(pid, signal.SIGSTOP)
gevent.spawn(os.kill, pid, signal.SIGCONT)
busy = gevent.spawn(compute)
store.run([])
busy.join()
print("fine")
"""


def test_it_waits_as_greenlets_do_and_a_busy_hub_is_no_absent_server(server: Valkey) -> None:
    assert server.process is not None
    argv = [sys.executable, "-c", GREEN, server.url, str(server.process.pid)]

    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("fine\n", "")
