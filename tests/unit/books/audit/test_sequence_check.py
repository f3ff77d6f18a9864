"""Records that are gone, or came from nowhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from llm_one_api.books.audit.sequence import SequenceCheck
from llm_one_api.stores.ledger.audit import Gap
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, pairs, tamper

CHECK = SequenceCheck()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _filled(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=AT + n * HOUR) for n in range(1, 11)])


def test_an_untouched_ledger_agrees(ledger: Ledger) -> None:
    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"numbers": 10, "records": 10, "deleted": 0}


def test_missing_records_are_named_by_their_numbers_and_cannot_be_brought_back_here(ledger: Ledger) -> None:
    tamper(ledger, "DELETE FROM records WHERE seq IN (2, 5, 6, 10)")

    found = CHECK.run(context(ledger))
    CHECK.repair(context(ledger), found)

    assert (found.state, found.repairable) == ("differs", 0)
    assert [what["numbers"] for what, _ in pairs(found)] == ["2", "5-6", "10"]
    assert found.notes[0].endswith("did not delete: 4")
    assert CHECK.run(context(ledger)).count == 3


def test_what_retention_deleted_is_not_missing(ledger: Ledger) -> None:
    ledger.retention.delete_records(AT + 5 * HOUR, 10)

    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"numbers": 10, "records": 6, "deleted": 4}


def test_what_is_missing_besides_is_told_apart_from_it(ledger: Ledger) -> None:
    ledger.retention.delete_records(AT + 5 * HOUR, 10)
    tamper(ledger, "DELETE FROM records WHERE seq = 8")

    found = CHECK.run(context(ledger))

    assert [what["numbers"] for what, _ in pairs(found)] == ["8"]
    assert found.notes[0].endswith("did not delete: 1")


def test_one_that_is_missing_among_deleted_ones_is_counted_all_the_same(ledger: Ledger) -> None:
    tamper(ledger, "DELETE FROM records WHERE seq = 2")
    ledger.retention.delete_records(AT + 5 * HOUR, 10)
    ledger.ingest([record(11, at=AT + 11 * HOUR)])

    found = CHECK.run(context(ledger))

    assert [what["numbers"] for what, _ in pairs(found)] == ["1-4"]
    assert found.notes[0].endswith("did not delete: 1")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ledger_seq SET n = 9",
        "UPDATE ledger_seq SET deleted = 3",
        "UPDATE records SET seq = 12 WHERE seq = 10",
    ],
)
def test_a_count_that_cannot_be_is_a_difference(ledger: Ledger, sql: str) -> None:
    tamper(ledger, sql)

    assert CHECK.run(context(ledger)).state == "differs"


def test_retention_at_the_same_time_is_no_difference(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(ledger, "DELETE FROM records WHERE seq = 8")
    tamper(ledger, "UPDATE ledger_seq SET deleted = 0")
    look = ledger.audit.gaps

    def counted_only_now(upto: int) -> list[Gap]:
        found = list(look(upto))
        tamper(ledger, "UPDATE ledger_seq SET deleted = 1")
        return found

    monkeypatch.setattr(ledger.audit, "gaps", counted_only_now)

    assert CHECK.run(context(ledger)).state == "agrees"
