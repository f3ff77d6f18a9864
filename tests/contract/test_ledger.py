"""One suite for the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from uuid_utils import uuid7

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.values import Attempt, Usage, UsageRecord
from tests.harness.processes import wait_until

AT = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)


def record(**fields: Any) -> UsageRecord:
    return UsageRecord(
        **{
            "request_id": str(uuid7()),
            "at": AT,
            "model": "gpt-4",
            "user": "alice",
            "key": "key_1",
            "endpoint": "chat",
            "outcome": "success",
            "status": 200,
            "duration": 2.5,
            "ttft": 0.5,
            "usage": Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170, cache_read_tokens=7),
            "usage_source": "reported",
            "usage_raw": {"prompt_tokens": 50, "nested": {"deep": [1, None]}},
            "attempts": (Attempt(upstream="u", status=200, duration=0.1),),
            "tags": ("a", "b"),
            **fields,
        }
    )


def test_a_record_comes_back_as_it_was(ledger: Ledger) -> None:
    kept = record(cost=Decimal("0.000315"), quota_cost=Decimal("123456.000000000001"), quota_tokens=170)

    ledger.ingest([kept])

    [one] = ledger.read(0, 10)
    assert one.seq == 1
    assert one.record == kept
    assert ledger.newest(1) == [kept]


def test_a_batch_that_comes_twice_counts_once(ledger: Ledger) -> None:
    batch = [record() for _ in range(3)]

    first, second = ledger.ingest(batch), ledger.ingest([*batch, record(), batch[0]])

    assert (first.new, first.known) == (3, 0)
    assert (second.new, second.known, second.last_seq) == (1, 4, 4)
    assert [k.seq for k in ledger.read(0, 10)] == [1, 2, 3, 4]


def test_seq_has_no_gaps_and_follows_the_commits_whoever_writes(ledger: Ledger, url: str) -> None:
    def write() -> None:
        mine = Ledger(url)
        for _ in range(10):
            mine.ingest([record() for _ in range(3)])
        mine.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [k.seq for k in ledger.read(0, 1000)] == list(range(1, 121))
    assert ledger.last_seq() == 120


def test_a_reader_never_passes_a_record_that_is_not_committed_yet(ledger: Ledger, url: str) -> None:
    started, done = threading.Event(), threading.Event()
    other = Ledger(url)

    def write() -> None:
        started.set()
        other.ingest([record()])
        done.set()

    with ledger._engine.begin() as held:
        held.exec_driver_sql("UPDATE ledger_seq SET layout = layout")
        thread = threading.Thread(target=write)
        thread.start()
        started.wait(5)
        assert not done.wait(0.3), "the second ingest waits for the first"
    thread.join()
    other.close()

    assert [k.seq for k in ledger.read(0, 10)] == [1]


def test_a_lease_is_for_one_and_an_old_holder_moves_nothing(ledger: Ledger) -> None:
    ledger.ingest([record() for _ in range(5)])
    cursors = ledger.cursors
    first = cursors.lease("log", "one", 0.05)
    assert first
    assert cursors.lease("log", "two", 30) is None

    second = wait_until(lambda: cursors.lease("log", "two", 30), what="the lease runs out")

    assert second.fence > first.fence
    assert cursors.advance(first, 3) is None
    moved = cursors.advance(second, 4)
    assert moved
    assert moved.seq == 4
    assert cursors.release(moved, 5)
    third = cursors.lease("log", "three", 30)
    assert third
    assert third.seq == 5
    assert not cursors.release(first, 6)
    assert not cursors.release(moved, 6)
    assert cursors.renew(third)


def test_a_consumer_that_failed_is_left_alone_for_a_while(ledger: Ledger) -> None:
    cursors = ledger.cursors
    lease = cursors.lease("log", "one", 30)
    assert lease

    cursors.fail(lease, "it broke", 0.2)

    assert cursors.lease("log", "one", 30) is None
    again = wait_until(lambda: cursors.lease("log", "one", 30))
    assert again.failures == 1
    position = cursors.position("log")
    assert position
    assert position.error == "it broke"
    moved = cursors.advance(again, 1)
    assert moved
    assert moved.failures == 0


def test_sums_leave_out_what_is_not_known(ledger: Ledger) -> None:
    ledger.ingest(
        [
            record(),
            record(usage=Usage(), usage_source="none", duration=None, outcome="aborted", key="key_2"),
            record(outcome="client_gone", stream=True),
            record(at=AT - timedelta(days=2)),
        ]
    )

    [stats] = ledger.summary(AT - timedelta(hours=1), AT + timedelta(hours=1))
    [own] = ledger.summary(AT - timedelta(hours=1), AT + timedelta(hours=1), "key_2")

    assert stats.requests == 3
    assert stats.outcomes == {"aborted": 1, "client_gone": 1, "success": 1}
    assert stats.error_rate == 0.5
    assert (stats.total_tokens, stats.requests_with_tokens, stats.avg_tokens) == (340, 2, 170.0)
    assert (stats.duration, stats.avg_duration, stats.streams) == (5.0, 2.5, 1)
    assert (own.requests, own.avg_tokens) == (1, None)


def test_tables_that_are_missing_are_told_with_the_command_that_makes_them(url: str) -> None:
    it = Ledger(url)

    with pytest.raises(SchemaBehind, match="llm-one-api db upgrade"):
        it.check()
    it.upgrade()
    it.upgrade()
    it.check()
    it.close()


def test_two_upgrades_at_a_time_do_it_once(url: str) -> None:
    failures: list[BaseException] = []

    def upgrade() -> None:
        it = Ledger(url)
        try:
            it.upgrade()
        except BaseException as error:
            failures.append(error)
        it.close()

    threads = [threading.Thread(target=upgrade) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
