"""The broker stalled, the workers away, under load: calls do not feel it, nothing grows, nothing is lost."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.harness.bookkeeper import Bookkeeper, bookkeeper
from tests.harness.judge import books, settle
from tests.harness.load import Answer, load
from tests.harness.parts import Parts, parts
from tests.harness.processes import wait_until
from tests.harness.product import config, product
from tests.harness.services import Valkey, valkey

pytestmark = pytest.mark.alone

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "7"))
"""How long the broker is stalled; it must be longer than the longest of the sockets' timeouts, which is 5 s."""

SHORTEST_TIMEOUT = 0.5
"""Seconds that whoever waits for a stalled Redis waits at least. The test's upstream takes under half of it."""

WINDOW, BATCH = 4, 5


@pytest.fixture
def upstream() -> Iterator[Bookkeeper]:
    with bookkeeper() as it:
        yield it


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path / "valkey") as it:
        yield it


def overhead(answers: Sequence[Answer]) -> float:
    """Give the median of what the gateway says that it added, in milliseconds."""
    return statistics.median(answer.overhead for answer in answers if answer.overhead is not None)


def slow(answers: Sequence[Answer]) -> float:
    """Give the share of the calls that took as long as if they had waited for the broker."""
    return sum(answer.seconds >= SHORTEST_TIMEOUT for answer in answers) / len(answers)


@pytest.mark.timeout(180 + OUTAGE_SECONDS)
def test_a_stalled_broker_slows_no_call_and_costs_no_record(
    upstream: Bookkeeper, broker: Valkey, tmp_path: Path
) -> None:
    made = config(upstream.url, redis={"url": broker.url})
    with product(tmp_path / "up", made) as running, load(running.url, "call") as calls:
        calls.goes_on(20)  # connections, pools, caches
        first = len(calls.answers)
        calls.goes_on(60)
        stalled = len(calls.answers)

        broker.pause()
        over = time.monotonic() + OUTAGE_SECONDS
        wait_until(lambda: time.monotonic() >= over, timeout=OUTAGE_SECONDS + 1, what="the outage is over")
        ready = requests.get(f"{running.url}/health/ready", timeout=10).status_code
        before, during = calls.answers[first:stalled], calls.answers[stalled:]
        broker.resume()

        calls.goes_on(20)
        calls.stop()
        with books(running.ledger_url) as kept:
            outcomes = settle(calls, upstream, kept)
    assert ready == 200
    assert len(during) > 30
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}
    assert slow(during) <= slow(before) + 0.1
    assert overhead(during) <= 5 * overhead(before) + 20


def test_without_workers_the_queue_stays_within_the_window(
    upstream: Bookkeeper, broker: Valkey, tmp_path: Path
) -> None:
    # What takes minutes with the defaults takes a second here: a batch comes to be sent again, and its copy in the
    # queue to be stale.
    relay = {"window": WINDOW, "batch_records": BATCH, "batch_ms": 20, "resend_min": 0.2, "resend_max": 1}
    with (
        parts(tmp_path / "parts", config(upstream.url, redis={"url": broker.url}, relay=relay)) as running,
        books(running.ledger_url) as kept,
        lengths(broker, "oneapi:ingest") as queue,
        lengths(broker, "oneapi:deliver") as hints,
    ):
        running.tables()
        running.gateway()
        with load(running.url, "call") as calls:
            wait_until(lambda: queue[-1] == WINDOW, what="the window is full")
            calls.goes_on(80)
            kill_relay(running)
            calls.goes_on(80)
        before = list(queue)

        running.worker("ingest")
        outcomes = settle(calls, upstream, kept)
        wait_until(lambda: queue[-1] == 0, what="the queue is empty")

    assert max(before) == before[-1] == WINDOW
    assert 1 < max(hints) < 10  # nobody takes those, ever
    assert len(calls.sent) > 4 * WINDOW * BATCH
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}


def kill_relay(running: Parts) -> None:
    """Kill -9, and wait until a gunicorn worker has seen that and there is another."""
    killed = running.relay()
    assert killed
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: running.relay() not in {None, killed}, what="there is another relay")


@contextmanager
def lengths(broker: Valkey, key: str) -> Iterator[list[int]]:
    """Write down how long a queue is, again and again, for the length of a block."""
    seen, enough = [0], threading.Event()

    def look() -> None:
        with broker.client() as client:
            while not enough.wait(0.005):
                seen.append(client.llen(key))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        enough.set()
        thread.join(10)
