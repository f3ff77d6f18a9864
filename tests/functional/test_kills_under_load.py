"""`kill -9` of each part of the whole product under load: one record a call, and its tokens to whoever saw its end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.harness.load import Bookkeeper, Books, bookkeeper, books, load, settle
from tests.harness.processes import wait_until
from tests.harness.product import Product, config, product
from tests.harness.services import Copy, Valkey, Wire, valkey, wire

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def upstream() -> Iterator[Bookkeeper]:
    with bookkeeper() as it:
        yield it


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Bookkeeper, broker: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = config(upstream.url, redis={"url": broker.url}, relay={"resend_min": 1, "resend_max": 10})
    with product(tmp_path_factory.mktemp("product"), made) as it:
        yield it


@pytest.fixture
def kept(running: Product) -> Iterator[Books]:
    with books(running.ledger_url) as it:
        yield it


@pytest.fixture
def sent(broker: Valkey, running: Product) -> Iterator[Wire]:
    """What goes to the ingest workers."""
    with wire(broker) as it:
        yield it


def workers(running: Product) -> list[psutil.Process]:
    found: list[psutil.Process] = running.part("gunicorn")[0].children()
    return found


def relay(running: Product) -> list[psutil.Process]:
    return running.part("llm_one_api.cli relay")


def ingest(running: Product) -> list[psutil.Process]:
    return running.part("MainProcess", "-Q ingest")


def ingest_children(running: Product) -> list[psutil.Process]:
    return running.part("worker-ingest", "ForkPoolWorker")


def deliver(running: Product) -> list[psutil.Process]:
    return running.part("MainProcess", "-Q deliver")


def kill(running: Product, find: Callable[[Product], list[psutil.Process]], victims: slice = slice(None)) -> None:
    """Kill -9 what *find* finds, or some of it, and wait until there are others instead."""
    before = find(running)
    assert before
    gone = {victim.pid for victim in before[victims]}
    for victim in before[victims]:
        victim.kill()
    wait_until(
        lambda: len({process.pid for process in find(running)} - gone) >= len(before),
        timeout=40,
        what="there are others instead",
    )


@contextmanager
def locked(running: Product) -> Iterator[None]:
    """Keep everybody else from writing into the ledger: an ingest that has begun is in its middle for seconds."""
    path = running.ledger_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def is_stuck(running: Product, broker: Valkey) -> bool:
    """Tell whether a child of the ingest worker waits for its turn in the ledger, and messages behind it."""
    files = [file.path for child in ingest_children(running) for file in child.open_files()]
    with broker.client() as client:
        return any(path.endswith("ledger.db") for path in files) and client.llen("oneapi:ingest") >= 2


def test_gunicorn_workers(running: Product, upstream: Bookkeeper, kept: Books) -> None:
    with load(running.url, "gunicorn") as calls:
        for victims in (slice(None), slice(1), slice(1, None)):
            calls.goes_on()
            wait_until(lambda: len(upstream.in_hand) >= 3, every=0.001, what="calls are in their middle")
            kill(running, workers, victims)
        calls.goes_on()

    outcomes = settle(calls, upstream, kept)
    assert outcomes["aborted"] >= 1  # else the kills hit nobody
    assert outcomes["success"] >= 40
    assert outcomes.keys() == {"aborted", "success"}


def test_the_relay(running: Product, upstream: Bookkeeper, kept: Books, sent: Wire) -> None:
    with load(running.url, "relay") as calls:
        for _ in range(2):
            calls.goes_on()
            with locked(running):
                before = len(sent.copies)
                wait_until(lambda n=before: len(sent.copies) > n, what="a batch is under way")  # type: ignore[misc]
                kill(running, relay)
        calls.goes_on()

    outcomes = settle(calls, upstream, kept)
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}
    assert twice(sent)  # else the kills hit nothing


def test_a_celery_child_in_the_middle_of_a_batch(
    running: Product, upstream: Bookkeeper, broker: Valkey, kept: Books, sent: Wire
) -> None:
    with load(running.url, "child") as calls:
        for _ in range(2):
            calls.goes_on()
            with locked(running):
                wait_until(lambda: is_stuck(running, broker), what="a batch is being written")
                kill(running, ingest_children)
        calls.goes_on()

    outcomes = settle(calls, upstream, kept)
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}
    assert sent.given_back >= 1  # else the kills hit nothing


def test_an_idle_celery_main_process_with_a_message_just_popped(
    running: Product, upstream: Bookkeeper, broker: Valkey, kept: Books, sent: Wire
) -> None:
    with load(running.url, "popped") as calls:
        lost = []
        for _ in range(2):
            calls.goes_on()
            lost.append(pop(running, broker, kept, sent))
            kill(running, ingest)
        calls.goes_on()

    outcomes = settle(calls, upstream, kept)
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}
    assert [[copy.batch for copy in sent.copies].count(batch) > 1 for batch, _ in lost] == [True, True]


def pop(running: Product, broker: Valkey, kept: Books, sent: Wire) -> Copy:
    """Stop the idle ingest worker's main process so that a message goes into its socket, where nobody reads it."""
    for _ in range(200):
        main = ingest(running)[0]
        before = len(sent.copies)
        main.suspend()
        wait_until(lambda n=before: len(sent.copies) > n, what="a message is sent")  # type: ignore[misc]
        copy = sent.copies[before]
        with broker.client() as client:
            in_sight = client.llen("oneapi:ingest") or client.hlen("oneapi:unacked")
        if not in_sight and not kept.of([name for name in copy.end_users if name]):
            return copy
        main.resume()
        wait_until(lambda c=copy: kept.of([name for name in c.end_users if name]), what="it works on")  # type: ignore[misc]
    raise AssertionError("no message was ever between the queue and the worker")


def test_the_delivering_worker(running: Product, upstream: Bookkeeper, kept: Books) -> None:
    with load(running.url, "deliver") as calls:
        calls.goes_on()
        kill(running, deliver)
        calls.goes_on()

    outcomes = settle(calls, upstream, kept)
    assert outcomes == {"success": len(calls.sent)}
    wait_until(lambda: logged(running) >= set(calls.sent), timeout=40, what="the log has every call")
    everything = kept.records()
    wait_until(lambda: running.get("/v1/stats/memory")["total_requests"] >= len(everything), what="memory has it all")
    assert running.get("/v1/stats/memory")["total_requests"] == len(everything)


def logged(running: Product) -> set[str]:
    file = running.folder / "logs" / "llm-one-api.log"
    lines = file.read_text().splitlines() if file.exists() else []
    return {entry["end_user"] for line in lines if (entry := json.loads(line)).get("event") == "response"}


def twice(sent: Wire) -> set[str | None]:
    """Give the calls whose records were sent more than once."""
    seen: set[str | None] = set()
    again: set[str | None] = set()
    for copy in sent.copies:
        again |= seen.intersection(copy.end_users)
        seen.update(copy.end_users)
    return again
