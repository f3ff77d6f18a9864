"""A whole audit, and retention, on SQLite and on PostgreSQL, beside ingests that go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest

from llm_one_api.books.audit.audit import AGREES, audit
from llm_one_api.books.retention import Keeping, quarters_since, retain
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.processes import wait_until
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, tamper

DAY = timedelta(days=1)


@contextmanager
def ingesting(url: str) -> Iterator[None]:
    """Have calls of many days come in for the length of a block."""
    over, failed = threading.Event(), []
    mine = Ledger(url)

    def work() -> None:
        numbers = count(1)
        try:
            while not over.is_set():
                mine.ingest([record(n, at=AT + n % 10 * DAY) for n in (next(numbers) for _ in range(20))])
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: mine.last_seq() > 100, what="some calls are there")
        yield
    finally:
        over.set()
        thread.join()
        mine.close()
    assert failed == []


def test_ingests_at_the_same_time_are_no_difference(ledger: Ledger, url: str) -> None:
    with ingesting(url):
        before = ledger.last_seq()
        reports = [audit(context(ledger)) for _ in range(4)]
        after = ledger.last_seq()

    assert [report.verdict for report in reports] == [AGREES] * 4
    assert after > before


def test_retention_at_the_same_time_is_none_either_and_lets_them_in(ledger: Ledger, url: str) -> None:
    kept = quarters_since(AT + 10 * DAY, 5)
    with ingesting(url):
        done = retain(ledger, [], Keeping(records_days=5, quarters_days=5), AT + 10 * DAY, sleep=lambda _: None)
        before = ledger.last_seq()
        during = audit(context(ledger, quarters_since=kept))
        wait_until(lambda: ledger.last_seq() > before, what="more calls have come")
    after = audit(context(ledger, quarters_since=kept))

    numbers = ledger.audit.numbers()
    assert done.result["records"] > 0
    assert done.result["quarters"] > 0
    assert (during.verdict, after.verdict) == (AGREES, AGREES)
    assert numbers.given == numbers.records + numbers.deleted
    assert {each.by for each in ledger.audit.refused(1)} == {"too_old"}


@pytest.mark.parametrize(
    ("sql", "check"),
    [
        ("UPDATE rollups_quarter SET requests = requests + 1", "rollups"),
        ("UPDATE latencies_hour SET calls = calls + 1", "rollups"),
        ("DELETE FROM rollups_hour", "rollups"),
        ("DELETE FROM rollups_quarter", "rollups"),
        ("DELETE FROM rollups_quarter WHERE slot = (SELECT min(slot) FROM rollups_quarter)", "rollups"),
        ("DELETE FROM records WHERE seq = 2", "sequence"),
    ],
)
def test_tampering_is_found_and_repaired_where_it_can_be(ledger: Ledger, sql: str, check: str) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    tamper(ledger, sql)

    found = audit(context(ledger))
    repaired = audit(context(ledger), repair=True)

    states = {each.check.name: each.found.state for each in found.checked}
    left = {each.check.name for each in repaired.checked if each.last.state == "differs"}
    assert states[check] == "differs"
    assert left == ({"sequence"} if check == "sequence" else set())
