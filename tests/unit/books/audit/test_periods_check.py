"""Sums of days that were changed behind the ledger's back."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.books.audit.periods import PeriodsCheck
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, tamper

CHECK = PeriodsCheck()
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _closed(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=AT + n * DAY) for n in range(3)])
    for period in ledger.closing.due(ZoneInfo("UTC"), AT + 2 * DAY):
        ledger.closing.close(period)


def test_what_was_closed_agrees(ledger: Ledger) -> None:
    found = CHECK.run(context(ledger))

    assert found.state == "agrees"
    assert found.compared == {"days": 13, "months": 0}


def test_what_was_changed_is_found_and_made_anew_from_the_hours(ledger: Ledger) -> None:
    tamper(ledger, "UPDATE rollups_day SET prompt_tokens = 7 WHERE slot = (SELECT min(slot) FROM rollups_day)")

    found = CHECK.run(context(ledger))
    CHECK.repair(context(ledger), found)
    after = CHECK.run(context(ledger))

    [difference] = found.differences
    assert difference.says == {"hours": {"prompt_tokens": 50}, "sums": {"prompt_tokens": 7}}
    assert difference.what["table"] == "rollups_day"
    assert after.state == "agrees"


def test_days_are_compared_though_their_records_are_deleted(ledger: Ledger) -> None:
    ledger.retention.delete_records(AT + 9 * DAY, 3)
    tamper(ledger, "UPDATE traffic_day SET requests = 9")

    assert CHECK.run(context(ledger)).count == 2


def test_who_looks_at_a_day_that_is_not_closed_sees_the_one_before(ledger: Ledger) -> None:
    midnight = AT.replace(hour=0, minute=0, second=0, microsecond=0)
    tamper(ledger, "UPDATE traffic_day SET requests = 9")

    found = CHECK.run(context(ledger, since=midnight + 2 * DAY, until=midnight + 3 * DAY))

    assert (found.count, found.compared) == (1, {"days": 1, "months": 0})
