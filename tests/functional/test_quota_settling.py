"""A real relay and a real limit store: whatever is killed, away or emptied, each call is charged once, and released."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from llm_one_api.limits.charging import Booking, charge_of
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.stores.journal.segments import list_segments
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Counts
from llm_one_api.values import Permit, UsageRecord
from tests.harness.calls import kill, opened, record
from tests.harness.processes import wait_until
from tests.harness.relays import Ingest, Relays
from tests.harness.services import Valkey, valkey

WINDOW = "user:dev:total:ever"
RESERVED, INPUT, USED = 500, 40, 7
WITH_LIMITS = {"LLM_ONE_API__LIMITS__EACH_USER__TOTAL__TOKENS": "1000000"}
FOR_EVER = 2**52


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path / "valkey") as it:
        yield it


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


@pytest.fixture
def relays(journal: Path, broker: Valkey) -> Iterator[Relays]:
    it = Relays(journal, broker.url, WITH_LIMITS, resend_min=0.3, resend_max=1)
    yield it
    it.close()


@pytest.fixture
def store(broker: Valkey) -> Iterator[LimitStore]:
    it = LimitStore(broker.url, "oneapi:", timeout=5)
    it.recount(0, {})
    yield it
    it.close()


@pytest.fixture
def ingest(broker: Valkey) -> Iterator[Ingest]:
    it = Ingest(broker)
    yield it
    it.close()


def begun(name: str) -> Opened:
    return msgspec.structs.replace(opened(name), permit=Permit(windows=(WINDOW,), tokens=RESERVED, input_tokens=INPUT))


def ended(name: str) -> UsageRecord:
    return msgspec.structs.replace(record(name, USED), quota_windows=(WINDOW,), quota_tokens=USED)


def admit(store: LimitStore, *names: str) -> None:
    quota = (WINDOW, 1_000_000, -1, -1, 0, 1, 0, FOR_EVER)
    asked = [Admit(id=name, tokens=RESERVED, nanos=0, allow_unwhole=True, quotas=[quota]) for name in names]
    assert {reply.code for reply in store.run(asked)} == {"admitted"}


def counts(store: LimitStore) -> Counts:
    return store.windows([WINDOW])[WINDOW]


def all_booked(store: LimitStore, ingest: Ingest, journal: Path) -> bool:
    """Take what was sent, and book it as the ingest workers do; tell whether that was all."""
    known = set(ingest.records)
    ingest.take()
    bookings = [
        Booking(charge=charge, seq=seq, new=name not in known)
        for seq, (name, one) in enumerate(ingest.records.items(), start=1)
        if (charge := charge_of(one))
    ]
    store.book(bookings)
    return not list_segments(journal)


def test_relays_and_gateways_that_are_killed_charge_each_call_once_and_release_it(
    journal: Path, relays: Relays, ingest: Ingest, store: LimitStore
) -> None:
    chance = random.Random(5)
    expected = calls = 0
    for turn in range(2):
        relay = relays.running()
        writer = Journal(journal, segment_bytes=5000)
        for number in range(60):
            name = f"{turn}-{number}"
            admit(store, name)
            writer.open(begun(name))
            if chance.random() < 0.8:
                writer.close(ended(name))
                expected += USED
            else:
                expected += INPUT
            calls += 1
        kill(writer)
        enough = calls - chance.randrange(60)
        wait_until(lambda n=enough: counts(store).pending.requests >= n, every=0.001)  # type: ignore[misc]
        relay.kill()

    relays.running()
    wait_until(lambda: counts(store).pending.requests >= calls, what="all is charged")
    charged = counts(store)
    wait_until(lambda: all_booked(store, ingest, journal), what="all is in the ledger")
    wait_until(lambda: not marks(store), what="no segment is remembered")

    assert charged.pending == (expected, calls, 0)
    assert charged.held == (0, 0, 0)
    assert len(ingest.records) == calls
    assert counts(store) == Counts(booked=charged.pending)


def test_a_store_that_is_away_or_emptied_misses_no_charge(
    journal: Path, relays: Relays, broker: Valkey, store: LimitStore
) -> None:
    writer = Journal(journal)
    relay = relays.running()
    for number in range(20):
        writer.close(ended(f"before {number}"))
    wait_until(lambda: counts(store).pending.requests == 20, what="they are charged")

    broker.kill()
    for number in range(20):
        writer.close(ended(f"while it is away {number}"))
    wait_until(lambda: "what=limits" in relay.text(), what="it is missed")
    broker.start()
    store.close()  # its connection
    wait_until(lambda: counts(store).pending.requests == 40, what="they are charged when it is back")

    with broker.client() as client:
        client.flushall()
    wait_until(lambda: counts(store).pending.requests == 40, what="all is charged anew")
    wait_until(lambda: "quota.check" in jobs(broker), what="the quota check is asked for")
    store.recount(0, {}, in_ledger=["before 0"])  # which the relay does not know
    store.settle("another", [])
    writer.close(ended("after"))
    wait_until(lambda: counts(store).pending.requests == 41, what="what may not be in the ledger is charged anew")

    assert counts(store) == Counts(pending=(41 * USED, 41, 0))  # type: ignore[arg-type]
    kill(writer)


def test_a_call_that_is_settled_after_its_lease_is_charged_once(
    journal: Path, relays: Relays, broker: Valkey, store: LimitStore
) -> None:
    short = LimitStore(broker.url, "oneapi:", lease=0.05, timeout=5)
    admit(short, "late")
    wait_until(lambda: counts(store).held.requests == 0, what="the lease is over")
    writer = Journal(journal)
    writer.open(begun("late"))
    writer.close(ended("late"))

    relays.running()
    wait_until(lambda: counts(store).pending.requests == 1, what="it is charged")

    assert counts(store) == Counts(pending=(USED, 1, 0))  # type: ignore[arg-type]
    kill(writer)
    short.close()


def jobs(broker: Valkey) -> str:
    with broker.client() as client:
        return str(client.lrange("oneapi:jobs", 0, -1))


def marks(store: LimitStore) -> int:
    return int(store._client.redis.hlen("oneapi:limits:marks"))
