"""Sums that were changed behind the ledger's back."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from llm_one_api.books.audit.rollups import RollupsCheck
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.sums import hour_of
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, tamper

CHECK = RollupsCheck()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _filled(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=AT + n * HOUR / 2) for n in range(8)])


def test_what_was_added_up_agrees(ledger: Ledger) -> None:
    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"records": 8, "sums": 4}


@pytest.mark.parametrize(
    ("sql", "sums"),
    [
        ("UPDATE rollups_hour SET requests = requests + 1 WHERE slot = (SELECT min(slot) FROM rollups_hour)", 1),
        ("UPDATE rollups_quarter SET prompt_tokens = 0 WHERE slot = (SELECT max(slot) FROM rollups_quarter)", 1),
        (
            "UPDATE latencies_hour SET calls = 7 WHERE slot = (SELECT min(slot) FROM latencies_hour) AND kind = 'ttft'",
            1,
        ),
        ("DELETE FROM latencies_quarter WHERE slot = (SELECT max(slot) FROM latencies_quarter)", 2),
        ("UPDATE records SET completion_tokens = completion_tokens + 1 WHERE seq = 3", 4),
    ],
)
def test_what_was_changed_is_found_and_nothing_else_and_is_made_anew(ledger: Ledger, sql: str, sums: int) -> None:
    tamper(ledger, sql)

    found = CHECK.run(context(ledger))
    CHECK.repair(context(ledger), found)
    after = CHECK.run(context(ledger))

    assert (found.state, found.count, found.repairable) == ("differs", sums, sums)
    assert after.state == "agrees"


def test_a_difference_says_which_sum_and_what_each_side_says(ledger: Ledger) -> None:
    tamper(ledger, "UPDATE rollups_hour SET requests = 9 WHERE slot = (SELECT min(slot) FROM rollups_hour)")

    [difference] = CHECK.run(context(ledger)).differences

    assert b'"table":"rollups_hour"' in msgspec.json.encode(difference)
    assert difference.what["model"] == "gpt-3.5-turbo"
    assert difference.says == {"records": {"requests": 2}, "sums": {"requests": 9}}


def test_only_the_time_that_is_asked_for_is_looked_at(ledger: Ledger) -> None:
    tamper(ledger, "UPDATE rollups_hour SET requests = 9 WHERE slot = (SELECT min(slot) FROM rollups_hour)")

    found = CHECK.run(context(ledger, since=AT + HOUR, until=AT + 4 * HOUR))

    assert found.state == "agrees"
    assert found.compared["sums"] == 3


def test_sums_whose_records_are_deleted_stand_for_themselves(ledger: Ledger) -> None:
    ledger.retention.delete_records(AT + 2 * HOUR, 8)

    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"records": 4, "sums": 2}
    assert "deleted" in found.notes[0]


def test_quarters_that_are_no_longer_kept_are_not_asked_for_though_a_late_call_brought_some_back(
    ledger: Ledger,
) -> None:
    kept_since = hour_of(AT) + 2 * HOUR
    since = None
    while (step := ledger.retention.delete_quarters(kept_since, since=since)).newest:
        since = step.newest
    ledger.ingest([record(99, at=AT)])

    found = CHECK.run(context(ledger, quarters_since=kept_since))

    assert found.state == "agrees"
    assert found.compared["records"] == 9
