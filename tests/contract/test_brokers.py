"""What delivery needs of a broker, with each: the real relay, a real Celery worker, a way to the broker that fails."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import psutil
import pytest
import redis
from celery import Celery

from llm_one_api.books.relay.relay import Relay, RelayOptions
from llm_one_api.broker import DELIVER, INGEST, JOBS, waiting
from llm_one_api.cli.relay import _hint_quota_check, _publisher
from llm_one_api.stores.counters import Acks, connect
from llm_one_api.stores.journal import Journal
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness import brokers
from tests.harness.brokers import PREFIX, Broker, broker, ingest_worker
from tests.harness.databases import give_tables
from tests.harness.processes import Process, wait_until
from tests.harness.records import record
from tests.harness.services import Valkey

BOUNDED = 10.0
"""Seconds within which a question to a broker that does not answer has ended, however slow the machine."""
NEVER = 600.0


@pytest.fixture(scope="module", params=brokers.NAMES)
def at(request: pytest.FixtureRequest, session_valkey: Valkey) -> Iterator[Broker]:
    """Each broker, with empty queues."""
    with session_valkey.client() as client:
        client.flushall()
    with broker(request.param, session_valkey) as it:
        yield it


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, at: Broker) -> Iterator[Ledger]:
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    give_tables(file)
    it = Ledger(f"sqlite:///{file}")
    yield it
    it.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, at: Broker, ledger: Ledger) -> Iterator[Process]:
    """One worker for all tests: starting it is what takes time."""
    folder = tmp_path_factory.mktemp("worker") / f"w{uuid4().hex[:8]}"
    config = {
        "data_dir": str(folder / "data"),
        "redis": {"url": at.redis_url},
        "broker": {"url": at.url},
        "ledger": {"url": ledger._engine.url.render_as_string(hide_password=False)},
        "plugins": {"stats": []},
    }
    with ingest_worker(folder, config) as it:
        yield it


@pytest.fixture
def app(at: Broker) -> Iterator[Celery]:
    at.purge()
    with at.sender() as it:
        yield it


class Calls:
    """Finished calls in a journal, and the relay that sends them; its turns are taken here."""

    def __init__(self, folder: Path, at: Broker, app: Celery, ledger: Ledger, **options: float) -> None:
        self._ledger = ledger
        self._app = app
        self._acknowledged: list[str] = []
        self.identity = uuid4().hex
        self.acks = Acks(connect(at.redis_url), PREFIX)
        self.publish = _publisher(app, self.identity)
        self.journal = Journal(folder)
        self.ids: list[str] = []
        self.relay = Relay(
            folder,
            publish=self.publish,
            take_acks=lambda: self.acks.take(self.identity, 100),
            count_waiting=lambda: waiting(app, INGEST),
            options=RelayOptions(batch_records=10, batch_ms=1, **options),  # type: ignore[arg-type]
        )

    def write(self, count: int) -> None:
        for _ in range(count):
            self.ids.append(uuid4().hex)
            self.journal.close(record(request_id=self.ids[-1]))

    def lines(self) -> list[str]:
        return [msgspec.json.encode(record(request_id=name)).decode() for name in self.ids]

    def turn(self) -> None:
        self.relay.turn(urgent=True)

    def waiting(self) -> int:
        """Send what is there, and count the batches that no worker has taken."""
        self.turn()
        return waiting(self._app, INGEST)

    def acknowledged(self) -> list[str]:
        """Name the batches that were, without telling the relay."""
        self._acknowledged += self.acks.take(self.identity, 100)
        return self._acknowledged

    def kept(self) -> int:
        """Count those that are in the ledger, once each."""
        return sum(self._ledger.find(name) is not None for name in self.ids)

    def kept_since(self, seq: int) -> list[str]:
        """Name those that the ledger has behind *seq*, each as often as it has it; other tests may leave some."""
        return [kept.record.request_id for kept in self._ledger.read(seq, 1000) if kept.record.request_id in self.ids]

    def arrive(self, timeout: float = 40.0) -> None:
        """Wait until all are in the ledger, and the relay knows it."""

        def arrived() -> bool:
            self.turn()
            return self.relay.window.is_empty and self.kept() == len(self.ids)

        wait_until(arrived, timeout=timeout, what="all calls are in the ledger and acknowledged")


@contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes in their tracks, for the length of a block."""
    for each in processes:
        each.suspend()
    try:
        yield
    finally:
        for each in processes:
            each.resume()


def main_of(worker: Process) -> psutil.Process:
    return psutil.Process(worker.pid)


@pytest.fixture
def calls(tmp_path: Path, at: Broker, app: Celery, ledger: Ledger) -> Calls:
    """The relay does not send a second time for as long as a test runs."""
    return Calls(tmp_path / "journal", at, app, ledger, resend_min=NEVER)


@pytest.fixture
def impatient(tmp_path: Path, at: Broker, app: Celery, ledger: Ledger) -> Calls:
    """The relay soon sends again what was not acknowledged."""
    return Calls(tmp_path / "journal", at, app, ledger, resend_min=1.0, resend_max=2.0)


def test_what_is_sent_arrives_and_is_acknowledged(calls: Calls, worker: Process, ledger: Ledger) -> None:
    before = ledger.last_seq()
    calls.write(100)

    calls.arrive()

    assert sorted(calls.kept_since(before)) == sorted(calls.ids)


def test_a_batch_that_comes_twice_counts_once(calls: Calls, worker: Process, ledger: Ledger) -> None:
    calls.write(3)
    before = ledger.last_seq()

    for _ in range(2):
        calls.publish("twice", calls.lines(), NEVER)

    wait_until(lambda: calls.acknowledged() == ["twice", "twice"], what="both are acknowledged")
    assert sorted(calls.kept_since(before)) == sorted(calls.ids)


def test_a_task_whose_process_is_killed_comes_back(calls: Calls, worker: Process, ledger: Ledger, app: Celery) -> None:
    main = main_of(worker)
    with ledger._engine.begin():  # a writing transaction of ours: the worker waits for its end, batch in hand
        calls.write(30)
        wait_until(lambda: calls.waiting() == 2, what="the worker has taken one of three batches")

        for child in main.children():
            child.send_signal(signal.SIGKILL)

    calls.arrive()


def test_what_an_emptied_queue_had_is_sent_again(impatient: Calls, worker: Process, at: Broker, app: Celery) -> None:
    with stopped(main_of(worker)):
        impatient.write(30)
        wait_until(lambda: impatient.waiting() >= 2, what="batches wait")

        at.purge()

    impatient.arrive()


def test_a_copy_that_is_stale_is_thrown_away(calls: Calls, worker: Process, ledger: Ledger) -> None:
    stale, fresh = [msgspec.json.encode(record(request_id=uuid4().hex)).decode() for _ in range(2)]
    with stopped(main_of(worker)):
        calls.publish("stale", [stale], 0.001)
        calls.publish("fresh", [fresh], NEVER)

    wait_until(calls.acknowledged, what="what was sent after it is acknowledged")
    assert calls.acknowledged() == ["fresh"]
    assert ledger.find(msgspec.json.decode(stale)["request_id"]) is None


def test_how_many_wait_is_told(at: Broker, app: Celery) -> None:
    assert waiting(app, DELIVER) == 0

    for _ in range(3):
        app.send_task("stats.deliver", ["log"], queue=DELIVER, expires=NEVER)

    assert waiting(app, DELIVER) == 3


def test_hints_at_the_quota_check_do_not_pile_up_while_nobody_does_it(app: Celery) -> None:
    for _ in range(10):
        _hint_quota_check(app)

    assert waiting(app, JOBS) == 4


def test_records_are_in_a_messages_body_and_nowhere_else(
    calls: Calls, worker: Process, at: Broker, app: Celery
) -> None:
    line = msgspec.json.encode(record(request_id="id-in-the-body", end_user="who-asked")).decode()
    with stopped(main_of(worker)):
        for number in range(3):
            calls.publish(f"batch-{number}", [line], NEVER)
        message = wait_until(lambda: at.take(INGEST), what="one of them waits")
        at.purge()

    outside = repr((message.headers, message.properties, message.delivery_info))
    assert "stats.ingest" in outside
    assert "<1 records>" in outside
    assert "id-in-the-body" not in outside
    assert "who-asked" not in outside
    assert "who-asked" not in repr(message.body)  # it is packed


@pytest.mark.parametrize("how", ["gone", "stalled"])
def test_a_broker_that_does_not_answer_holds_nobody_up_and_loses_nothing(
    impatient: Calls, worker: Process, at: Broker, app: Celery, how: str
) -> None:
    impatient.write(20)
    impatient.arrive()
    (at.door.close if how == "gone" else at.door.hold_up)()
    try:
        impatient.write(30)
        for question in (lambda: impatient.publish("direct", [], 1.0), lambda: waiting(app, INGEST)):
            began = time.monotonic()
            with pytest.raises(Exception):  # noqa: B017 (whatever the broker's client raises)
                question()
            assert time.monotonic() - began < BOUNDED
        began = time.monotonic()
        impatient.turn()
        assert time.monotonic() - began < BOUNDED
    finally:
        at.door.open()

    impatient.arrive()


def test_acks_may_be_lost(impatient: Calls, worker: Process, at: Broker) -> None:
    impatient.write(10)
    impatient.turn()
    wait_until(lambda: impatient.kept() == 10, what="they are in the ledger")

    with redis.Redis.from_url(at.redis_url) as client:
        client.delete(f"{PREFIX}acks:{impatient.identity}")

    impatient.arrive()
