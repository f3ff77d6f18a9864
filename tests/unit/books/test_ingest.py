"""Batches of lines, good and bad, into a real ledger."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from llm_one_api.books.ingest import DEEPEST, ingest
from llm_one_api.limits.charging import Booking
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.tables import refused_records
from tests.harness.charges import charged
from tests.harness.records import record


def line(number: int) -> str:
    return msgspec.json.encode(record(number)).decode()


def deep(number: int, levels: int) -> str:
    """A record whose provider's usage object has so many levels."""
    within = "[" * (levels - 2) + "1" + "]" * (levels - 2)
    return line(number)[:-1] + f',"usage_raw":{{"a":{{"{"[{" * 50}":{within}}}}}}}'


def reasons(ledger: Ledger) -> list[str]:
    with ledger._engine.connect() as connection:
        return list(connection.execute(select(refused_records.c.reason)).scalars())


def test_a_batch_is_kept_and_then_acked(ledger: Ledger) -> None:
    acked = []

    done = ingest(ledger, [line(1), line(2)], lambda: acked.append(ledger.last_seq()))

    assert (done.new, done.refused) == (2, 0)
    assert acked == [2]


@pytest.mark.parametrize("bad", ["no json", "{}", line(1)[:-1], deep(1, DEEPEST + 1), deep(1, 980), deep(1, 100_000)])
def test_a_line_that_cannot_be_read_is_refused_alone(ledger: Ledger, bad: str) -> None:
    acked = []

    with capture_logs() as logs:
        done = ingest(ledger, [line(2), bad, line(3)], lambda: acked.append(1))

    assert (done.new, done.refused, acked) == (2, 1, [1])
    assert len(ledger.read(0, 10)) == 2
    assert [told.startswith("it is no record: ") for told in reasons(ledger)] == [True]
    assert [event["event"] for event in logs] == ["ingest.refused"]


def test_a_usage_object_that_looks_deep_and_is_not_is_kept(ledger: Ledger) -> None:
    done = ingest(ledger, [deep(1, DEEPEST)], lambda: None)

    assert (done.new, done.refused) == (1, 0)
    assert ledger.read(0, 1)[0].record.usage_raw is not None


def test_nothing_is_acked_that_the_ledger_did_not_keep(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE records")
    acked = []

    with pytest.raises(DatabaseError, match="no such table"):
        ingest(ledger, [line(1)], lambda: acked.append(1))

    assert acked == []


def test_what_is_charged_is_booked_when_it_is_kept_and_before_it_is_acked(ledger: Ledger) -> None:
    done: list[str] = []

    def book(bookings: Sequence[Booking]) -> None:
        done.extend(f"{each.charge.id} at {each.seq} of {ledger.last_seq()}" for each in bookings)

    lines = [msgspec.json.encode(call).decode() for call in (record(1), charged(2))]
    ingest(ledger, lines, lambda: done.append("acked"), book)

    assert done == ["0193-00000002 at 2 of 2", "acked"]
