"""What an audit asks of the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, insert

from llm_one_api.stores.ledger import audit
from llm_one_api.stores.ledger.ingesting import unreadable
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.tables import dead_letters, records
from llm_one_api.values import Usage
from tests.harness.records import AT, record


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a handful of records fill several pages."""
    monkeypatch.setattr(audit, "_PAGE", 3)
    monkeypatch.setattr(audit, "_IDS", 2)


def lose(ledger: Ledger, *places: int) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(delete(records).where(records.c.seq.in_(places)))


def bury(ledger: Ledger, consumer: str, seq: int, request_id: str) -> None:
    row = {
        "consumer": consumer,
        "seq": seq,
        "request_id": request_id,
        "reason": "r",
        "tries": 8,
        "line": "{}",
        "at": AT,
    }
    with ledger._engine.begin() as connection:
        connection.execute(insert(dead_letters).values(row))


def test_numbers_are_counted_at_one_moment(ledger: Ledger) -> None:
    ledger.ingest([record(n) for n in range(1, 8)])
    lose(ledger, 2)

    numbers = ledger.audit.numbers()

    assert (numbers.given, numbers.deleted, numbers.records, numbers.highest) == (7, 0, 6, 7)


@pytest.mark.parametrize(
    ("lost", "gaps"),
    [
        ([], []),
        ([1], [(1, 1)]),
        ([3, 4, 6], [(3, 4), (6, 6)]),
        ([7, 8], [(7, 8)]),
        (list(range(1, 9)), [(1, 8)]),
    ],
)
def test_gaps_are_found_wherever_they_are(ledger: Ledger, lost: list[int], gaps: list[tuple[int, int]]) -> None:
    ledger.ingest([record(n) for n in range(1, 9)])
    lose(ledger, *lost)

    found = list(ledger.audit.gaps(8))

    assert [(gap.first, gap.last) for gap in found] == gaps


def test_figures_come_page_by_page_without_dead_letters(ledger: Ledger) -> None:
    ledger.ingest([record(n, usage=Usage(prompt_tokens=n)) for n in range(1, 9)])
    bury(ledger, "memory", 4, "x")
    bury(ledger, "log", 5, "x")

    pages = list(ledger.audit.figures(1, 7, "memory"))

    assert [[row["seq"] for row in page] for page in pages] == [[2, 3, 5], [6, 7]]
    assert pages[0][0]["prompt_tokens"] == 2
    assert ledger.audit.count_places(1, 7) == 6


def test_a_call_is_known_as_a_record_as_a_refused_one_and_within_a_line_that_was_no_record(ledger: Ledger) -> None:
    bad = record(3, usage=Usage(prompt_tokens=-1))
    ledger.ingest([record(1), record(2), bad], [unreadable('{"request_id":"0193-00000004","at":1}', "no record")])

    known = ledger.audit.known([f"0193-{n:08}" for n in range(1, 7)])

    assert known == {f"0193-{n:08}" for n in range(1, 5)}


def test_an_id_that_no_database_takes_as_it_is_is_known_by_its_own_name(ledger: Ledger) -> None:
    ledger.ingest([record(1, request_id="a\x00b")])

    assert ledger.audit.known(["a\x00b", "a%b"]) == {"a\x00b"}


def test_calls_and_sums_of_a_time_are_counted(ledger: Ledger) -> None:
    ledger.ingest([record(1), record(2), record(3, at=AT + timedelta(hours=3))])

    assert ledger.audit.count(AT - timedelta(hours=1), AT + timedelta(hours=1)) == (2, 1)


def test_what_is_set_aside_is_told_by_whom(ledger: Ledger) -> None:
    ledger.ingest([record(n) for n in (1, 2)])
    ledger.retention.delete_records(AT + timedelta(days=1), 2)
    ledger.ingest([record(3), record(4, at=AT + timedelta(days=9), usage=Usage(prompt_tokens=-1))])
    for seq in (1, 2):
        bury(ledger, "log", seq, f"call-{seq}")

    refused, dead = ledger.audit.refused(1), ledger.audit.dead(1)

    assert [(each.by, each.calls, each.newest) for each in refused] == [
        ("refused", 1, ("0193-00000004",)),
        ("too_old", 1, ("0193-00000003",)),
    ]
    assert [(each.by, each.calls, each.newest) for each in dead] == [("log", 2, ("call-2",))]
