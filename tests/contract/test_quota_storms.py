"""Calls are settled, taken in and booked, and checks run, all at once, while bookings and Redis' data get lost."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from tests.harness.charges import WINDOWS, booked, charged, check_of, pending, settle, times
from tests.harness.processes import wait_until
from tests.harness.services import Valkey, valkey

WORKERS, BATCHES, BATCH = 2, 20, 5
CALLS = WORKERS * BATCHES * BATCH


class Storm:
    """Workers that take calls in, and quota checks beside them, each with connections of its own."""

    def __init__(self, url: str, redis_url: str, *, loses: Callable[[int], bool]) -> None:
        """Lose the booking of each batch that *loses* says: its worker is killed after the commit."""
        self._url = url
        self._redis_url = redis_url
        self._loses = loses
        self._over = threading.Event()
        self.done = 0
        """Batches."""
        self.checks = 0
        self.failed: list[BaseException] = []

    def run(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Take in all calls; in the middle of it do *meanwhile*."""
        workers = [threading.Thread(target=self._guarded, args=[self._take_in, n]) for n in range(WORKERS)]
        checks = [threading.Thread(target=self._guarded, args=[self._check, n]) for n in range(2)]
        for thread in (*workers, *checks):
            thread.start()
        wait_until(
            lambda: self.failed or self.done > WORKERS * BATCHES // 2, what="half of the calls are in", every=0.001
        )
        meanwhile()
        for thread in workers:
            thread.join(60)
        wait_until(lambda: self.failed or self.checks, what="there was a check")
        self._over.set()
        for thread in checks:
            thread.join(60)
        assert self.failed == []

    def _guarded(self, work: Callable[[Ledger, LimitStore, int], None], number: int) -> None:
        ledger, store = Ledger(self._url), LimitStore(self._redis_url, "check:", timeout=5.0)
        try:
            work(ledger, store, number)
        except BaseException as error:
            self.failed.append(error)
        finally:
            store.close()
            ledger.close()

    def _take_in(self, ledger: Ledger, store: LimitStore, number: int) -> None:
        for batch in range(BATCHES):
            first = (number * BATCHES + batch) * BATCH + 1
            calls = [charged(n) for n in range(first, first + BATCH)]
            settle(store, *calls, segment=f"s{number}", at=first)
            bookings = ledger.ingest(calls).bookings
            if not self._loses(batch):
                store.book(bookings)
            self.done += 1

    def _check(self, ledger: Ledger, store: LimitStore, _number: int) -> None:
        check = check_of(ledger, store, wait=self._wait)
        while not self._over.is_set():
            try:
                check.run()
            except redis.DataError:  # Redis lost its data while it was counted anew: the next one does it
                continue
            self.checks += 1

    def _wait(self, _seconds: float) -> None:
        """Wait for what is under way to be booked, for less long than a check does."""
        self._over.wait(0.01)


@pytest.fixture
def store(redis_url: str) -> Iterator[LimitStore]:
    it = LimitStore(redis_url, "check:", timeout=5.0)
    yield it
    it.close()


def test_it_ends_exact_by_itself_when_nothing_is_lost(
    ledger: Ledger, url: str, store: LimitStore, redis_url: str
) -> None:
    check_of(ledger, store).run()

    Storm(url, redis_url, loses=lambda _: False).run()

    assert booked(store) == dict.fromkeys(WINDOWS, times(CALLS))
    assert pending(store) == set()
    assert ledger.quotas.booked(WINDOWS) == booked(store)


def test_a_check_makes_up_for_lost_bookings_and_lost_counters(
    ledger: Ledger, url: str, store: LimitStore, redis_url: str
) -> None:
    Storm(url, redis_url, loses=lambda batch: batch % 3 == 0).run(meanwhile=store._client.redis.flushall)

    check_of(ledger, store).run()
    again = check_of(ledger, store).run()

    assert again.agrees
    assert booked(store) == dict.fromkeys(WINDOWS, times(CALLS))
    assert pending(store) == set()
    assert ledger.quotas.booked(WINDOWS) == booked(store)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey whose data a test may put back."""
    with valkey(tmp_path / "valkey") as it:
        yield it


def test_counters_of_the_past_are_counted_anew_and_settled_anew(ledger: Ledger, server: Valkey, tmp_path: Path) -> None:
    store = LimitStore(server.url, "check:", timeout=5.0)
    check_of(ledger, store).run()
    calls = [charged(number) for number in range(1, 7)]
    settle(store, *calls[:3])
    store.book(ledger.ingest(calls[:1]).bookings)
    before = store.state()
    server.kill()
    shutil.copytree(server.folder / "appendonlydir", tmp_path / "past")
    server.start()
    store.close()
    store.book(ledger.ingest(calls[1:5]).bookings)
    server.kill()
    server.forget()
    shutil.copytree(tmp_path / "past", server.folder / "appendonlydir")
    server.start()
    store.close()

    found = check_of(ledger, store).run()
    after = store.state()
    again = check_of(ledger, store).run()
    left = pending(store)
    settle(store, *calls[2:], segment="anew")
    store.book(ledger.ingest(calls[4:]).bookings)
    check_of(ledger, store).run()

    assert found.trouble == "restarted"
    assert before is not None
    assert after is not None
    assert (after.epoch != before.epoch, after.seq) == (True, 5)
    assert again.agrees
    assert left == set()
    assert booked(store) == dict.fromkeys(WINDOWS, times(6))
    assert pending(store) == set()
    store.close()
