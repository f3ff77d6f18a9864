"""What quotas are charged, beside records, ledger and Redis that say something else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from llm_one_api.books.audit.quotas import QuotasCheck
from llm_one_api.books.retention import Keeping, retain
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from tests.harness.charges import DAY, TOTAL, WINDOWS, booked, charged, check_of, settle, times
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, pairs, tamper

CHECK = QuotasCheck(wait=lambda _: None)
TODAY = {"since": AT.replace(hour=0, minute=0, second=0, microsecond=0), "until": AT.replace(day=13, hour=0, minute=0)}


@pytest.fixture
def limits(redis_url: str) -> Iterator[LimitStore]:
    it = LimitStore(redis_url, "check:")
    yield it
    it.close()


@pytest.fixture(autouse=True)
def _filled(ledger: Ledger) -> None:
    """Three calls that are charged, one that is not, one of a price that no column holds whole."""
    ledger.ingest([charged(1), charged(2), record(3), charged(4)])
    ledger.ingest([charged(5, quota_cost=Decimal("0.0003150000000000001"), quota_windows=(DAY,))])


def test_what_was_taken_in_agrees_with_its_records(ledger: Ledger, limits: LimitStore) -> None:
    check_of(ledger, limits).reconcile()

    found = CHECK.run(context(ledger, limits=limits))

    assert found.state == "agrees"
    assert found.compared == {"windows": 3, "windows in Redis": 3}
    assert booked(limits)[DAY] == times(4)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (f"UPDATE quota_sums SET tokens = tokens + 1 WHERE \"window\" = '{TOTAL}'", {"records": 510, "sums": 511}),
        (f"DELETE FROM quota_sums WHERE \"window\" = '{TOTAL}'", {"records": 510, "sums": 0}),
        ("UPDATE records SET quota_tokens = 100 WHERE seq = 2", {"records": 440, "sums": 510}),
    ],
)
def test_sums_that_were_changed_are_found_and_made_anew(
    ledger: Ledger, limits: LimitStore, sql: str, says: dict[str, int]
) -> None:
    check_of(ledger, limits).reconcile()
    tamper(ledger, sql)

    found = CHECK.run(context(ledger, limits=limits))
    CHECK.repair(context(ledger, limits=limits), found)
    again = CHECK.run(context(ledger, limits=limits))

    assert ({"window": TOTAL, "figure": "tokens"}, says) in pairs(found)
    assert found.repairable == found.count
    assert again.state == "agrees"
    assert booked(limits)[TOTAL].tokens == says["records"]


def test_what_redis_says_else_is_found_and_counted_anew(ledger: Ledger, limits: LimitStore) -> None:
    check_of(ledger, limits).reconcile()
    limits._client.redis.hincrby(f"check:limits:w:{DAY}", "bc", -5)
    settle(limits, charged(2))

    found = CHECK.run(context(ledger, limits=limits))
    CHECK.repair(context(ledger, limits=limits), found)
    again = CHECK.run(context(ledger, limits=limits))

    assert pairs(found) == [
        ({"request_id": charged(2).request_id}, {"ledger": "there", "Redis": "pending"}),
        ({"window": DAY, "figure": "nanos"}, {"ledger": 1_260_000, "Redis": 1_259_995}),
    ]
    assert again.state == "agrees"


def test_calls_that_the_ledger_refused_are_told_and_no_difference(ledger: Ledger, limits: LimitStore) -> None:
    check_of(ledger, limits).reconcile()
    refused = charged(6, status=-1)
    settle(limits, refused, charged(7))
    ledger.ingest([refused])

    found = CHECK.run(context(ledger, limits=limits))

    assert found.state == "agrees"
    assert found.notes == ["1 calls count as used though the ledger refused them: see `set aside`"]


def test_counters_that_were_lost_are_one_difference(ledger: Ledger, limits: LimitStore) -> None:
    found = CHECK.run(context(ledger, limits=limits))
    CHECK.repair(context(ledger, limits=limits), found)
    again = CHECK.run(context(ledger, limits=limits))

    assert pairs(found) == [({"what": "the counters"}, {"Redis": "lost"})]
    assert again.state == "agrees"


def test_a_reset_is_no_difference(ledger: Ledger, limits: LimitStore) -> None:
    off = ledger.quotas.reset(DAY, "by hand")
    check_of(ledger, limits).reconcile()

    found = CHECK.run(context(ledger, limits=limits))

    assert off == times(4)
    assert found.state == "agrees"
    assert booked(limits)[DAY] == times(0)


def test_redis_that_is_away_leaves_the_rest_to_be_compared(ledger: Ledger) -> None:
    away = LimitStore("redis://127.0.0.1:1/0", "check:")
    before = CHECK.run(context(ledger, limits=away))
    tamper(ledger, "UPDATE quota_sums SET requests = 0")

    found = CHECK.run(context(ledger, limits=away))
    CHECK.repair(context(ledger, limits=away), found)
    after = CHECK.run(context(ledger, limits=away))

    assert (before.state, found.state, after.state) == ("unchecked", "differs", "unchecked")
    assert "Redis is away" in str(found.unchecked)


def test_where_no_quota_is_set_there_is_nothing_to_compare(ledger: Ledger) -> None:
    with_sums = CHECK.run(context(ledger))
    for table in ("quota_sums", "records"):
        tamper(ledger, f"DELETE FROM {table}")

    assert with_sums.state == "agrees"
    assert [note.split(":")[0] for note in with_sums.notes] == ["Redis is not looked at"]
    assert CHECK.run(context(ledger)).state == "elsewhere"


def test_a_day_is_compared_by_its_own_windows(ledger: Ledger) -> None:
    tamper(ledger, f"UPDATE quota_sums SET tokens = 0 WHERE \"window\" IN ('{DAY}', '{TOTAL}')")

    found = CHECK.run(context(ledger, **TODAY))
    CHECK.repair(context(ledger, **TODAY), found)

    assert pairs(found) == [({"window": DAY, "figure": "tokens"}, {"records": 680, "sums": 0})]
    assert ledger.quotas.booked(WINDOWS)[DAY] == times(4)


def test_windows_whose_records_are_deleted_stand_for_themselves(ledger: Ledger) -> None:
    later = "user:alice:day:2025-12-24"
    ledger.ingest([charged(6, at=AT + timedelta(days=42), quota_windows=(later,))])
    retain(ledger, [], Keeping(records_days=30, quarters_days=90), AT + timedelta(days=43), sleep=lambda _: None)

    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"windows": 1}
    assert found.notes[0] == "3 windows are left out: retention has deleted records of theirs"
    assert ledger.quotas.booked([DAY]) == {DAY: times(4)}


def test_a_name_that_is_no_day_of_any_calendar_is_compared_all_the_same(ledger: Ledger) -> None:
    ledger.ingest([charged(7, quota_windows=("user:alice:day:someday",))])

    found = CHECK.run(context(ledger))

    assert found.compared["windows"] == 4
    assert found.state == "agrees"
