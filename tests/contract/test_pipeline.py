"""What the ledger tells of the records' way, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, update

from llm_one_api.stores.ledger.ingesting import Refused
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.pipeline import Consumer, LedgerEnd, SetAside
from llm_one_api.stores.ledger.tables import cursors, dead_letters
from tests.harness.records import record


def set_aside(ledger: Ledger, consumer: str, *places: int) -> None:
    with ledger._engine.begin() as connection:
        for place in places:
            connection.execute(
                insert(dead_letters).values(
                    consumer=consumer, seq=place, request_id=f"r{place}", reason="no", tries=8, line="{}",
                    at=datetime.now(UTC),
                )
            )  # fmt: skip


def test_a_new_ledger_has_nothing_to_tell(ledger: Ledger) -> None:
    assert ledger.pipeline.set_aside() == SetAside(dead_letters=0, refused_records=0)
    assert ledger.pipeline.whole() == LedgerEnd(last_seq=0, refused_records={}, consumers=[])


def test_refused_records_are_counted_by_kind(ledger: Ledger) -> None:
    reasons = ["it is no record: a", "it is no record: b: c", "too_old: of 2024", "too_old", "without a colon"]
    refused = [Refused(request_id=f"r{n}", reason=reason, line="{}") for n, reason in enumerate(reasons)]

    ledger.ingest([record(1)], refused)

    assert ledger.pipeline.whole().refused_records == {"it is no record": 2, "too_old": 2, "without a colon": 1}
    assert ledger.pipeline.set_aside().refused_records == 5


def test_each_consumer_is_told_with_how_far_it_is_behind(ledger: Ledger) -> None:
    ledger.ingest([record(number) for number in range(5)])
    for name in ("log", "memory"):
        ledger.cursors.begin_run(name, 0)
    with ledger._engine.begin() as connection:
        connection.execute(
            update(cursors).where(cursors.c.consumer == "log").values(seq=3, failures=2, error="it is away")
        )
    set_aside(ledger, "log", 1, 2)
    set_aside(ledger, "gone", 1)

    told = ledger.pipeline.whole()

    assert told.last_seq == 5
    assert told.consumers == [
        Consumer(name="log", place=3, behind=2, failures=2, error="it is away", dead_letters=2),
        Consumer(name="memory", place=0, behind=5, failures=0, error=None, dead_letters=0),
    ]
    assert ledger.pipeline.set_aside().dead_letters == 3


def test_a_ledger_without_tables_is_as_good_as_away(url: str) -> None:
    ledger = Ledger(url)
    try:
        with pytest.raises(DatabaseError):
            ledger.pipeline.set_aside()
    finally:
        ledger.close()
