"""What is deleted and what is not, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.rollup_tables import (
    latencies_hour,
    latencies_quarter,
    rollups_hour,
    rollups_quarter,
)
from llm_one_api.stores.ledger.tables import refused_records
from tests.harness.records import record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def filled(ledger: Ledger, hours: int = 4) -> None:
    """Two calls an hour from noon on: numbers 1 and 2 in the first hour, and so on."""
    ledger.ingest([record(n + 1, at=NOON + n // 2 * HOUR + n % 2 * timedelta(minutes=20)) for n in range(2 * hours)])


def places(ledger: Ledger) -> list[int]:
    return [kept.seq for kept in ledger.read(0, 100)]


def rows(ledger: Ledger, table: object) -> int:
    with ledger._engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def test_records_go_by_their_age_the_oldest_first(ledger: Ledger) -> None:
    filled(ledger)

    first = ledger.retention.delete_records(NOON + 2 * HOUR, 8, limit=3)
    second = ledger.retention.delete_records(NOON + 2 * HOUR, 8, since=first.newest, limit=3)
    third = ledger.retention.delete_records(NOON + 2 * HOUR, 8, since=second.newest, limit=3)

    assert (first.rows, second.rows, third.rows) == (3, 1, 0)
    assert third.newest is None
    assert places(ledger) == [5, 6, 7, 8]
    assert ledger.last_seq() == 8
    numbers = ledger.audit.numbers()
    assert (numbers.given, numbers.deleted, numbers.records) == (8, 4, 4)


def test_what_a_plugin_has_not_had_stays(ledger: Ledger) -> None:
    filled(ledger)

    done = ledger.retention.delete_records(NOON + 4 * HOUR, 3)

    assert done.rows == 3
    assert places(ledger) == [4, 5, 6, 7, 8]


def test_sums_stay(ledger: Ledger) -> None:
    filled(ledger)
    tables = (rollups_hour, rollups_quarter, latencies_hour, latencies_quarter)
    before = [rows(ledger, table) for table in tables]

    ledger.retention.delete_records(NOON + 4 * HOUR, 8)

    assert places(ledger) == []
    assert [rows(ledger, table) for table in tables] == before
    assert before[0] == 4


def test_a_deleted_record_never_comes_in_again(ledger: Ledger) -> None:
    filled(ledger)
    ledger.retention.delete_records(NOON + HOUR, 8, limit=1)

    again = ledger.ingest([record(1, at=NOON), record(99, at=NOON + HOUR - timedelta(seconds=1))])
    later = ledger.ingest([record(100, at=NOON + HOUR)])

    with ledger._engine.connect() as connection:
        reasons = connection.execute(select(refused_records.c.reason)).scalars().all()
    assert (again.new, again.refused) == (0, 2)
    assert all(reason.startswith("too_old") for reason in reasons)
    assert later.new == 1


def test_the_hour_from_which_on_records_are_whole_never_goes_back(ledger: Ledger) -> None:
    filled(ledger)
    ledger.retention.delete_records(NOON + 2 * HOUR, 2)
    first = ledger.audit.deleted_before()
    ledger.retention.delete_records(NOON + 4 * HOUR, 8)
    second = ledger.audit.deleted_before()

    nothing = ledger.retention.delete_records(NOON + HOUR, 8)

    assert nothing.rows == 0
    assert (first, second) == (NOON + HOUR, NOON + 4 * HOUR)
    assert ledger.audit.deleted_before() == second


def test_quarters_go_by_whole_hours_the_oldest_first(ledger: Ledger) -> None:
    filled(ledger)

    before = NOON + 2 * HOUR
    first = ledger.retention.delete_quarters(before)
    ledger.ingest([record(99, at=NOON)])
    second = ledger.retention.delete_quarters(before, since=first.newest)
    third = ledger.retention.delete_quarters(before, since=second.newest)
    again = ledger.retention.delete_quarters(before)

    with ledger._engine.connect() as connection:
        oldest = connection.execute(select(func.min(rollups_quarter.c.slot))).scalar()
        oldest_latency = connection.execute(select(func.min(latencies_quarter.c.slot))).scalar()
    assert (first.newest, second.newest, third.newest) == (NOON + HOUR, NOON + 2 * HOUR, None)
    assert (third.rows, again.newest) == (0, NOON + HOUR)
    assert (oldest, oldest_latency) == (NOON + 2 * HOUR, NOON + 2 * HOUR)
    assert rows(ledger, rollups_hour) == 4


def test_places_of_consumers_are_told_with_how_long_they_were_silent(ledger: Ledger) -> None:
    filled(ledger)
    lease = ledger.cursors.lease("log", "test", 60)
    assert lease
    ledger.cursors.release(lease, 5)

    [place] = ledger.retention.places()

    assert (place.consumer, place.seq) == ("log", 5)
    assert 0 <= place.silent < 60


@pytest.mark.parametrize(("after", "expected"), [(0, NOON), (3, NOON + HOUR + timedelta(minutes=20)), (8, None)])
def test_what_comes_next_is_found_by_its_place(ledger: Ledger, after: int, expected: datetime | None) -> None:
    filled(ledger)

    assert ledger.retention.next_after(after) == expected
