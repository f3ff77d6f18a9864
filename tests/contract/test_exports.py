"""Exports from SQLite and from PostgreSQL: the same bytes, also beside ingests that go on."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from llm_one_api.books.audit.audit import AGREES, audit
from llm_one_api.books.reports.export.export import BooksDiffer, export_day
from llm_one_api.books.reports.export.target import Folder
from llm_one_api.stores.ledger.ledger import Ledger
from tests.contract.test_audit import ingesting
from tests.harness import golden
from tests.harness.databases import give_tables
from tests.harness.records import AT
from tests.unit.books.audit.looking import context
from tests.unit.books.export.files import ALL, contents, lines, manifest

DAY = date(2028, 10, 29)
"""In Berlin it has 25 hours."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "exports")


def test_both_databases_give_the_same_bytes(ledger: Ledger, folder: Folder, tmp_path: Path) -> None:
    """Each is held against an export from a SQLite ledger beside it."""
    give_tables(tmp_path / "other.db")
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    beside = Folder(tmp_path / "beside")
    for each, target in ((ledger, folder), (other, beside)):
        each.ingest(golden.calls(300))
        export_day(each, target, DAY, golden.BERLIN, ALL)
    other.close()

    assert contents(folder) == contents(beside)
    assert manifest(folder, DAY)["requests"] > 10


def test_a_day_that_is_exported_while_its_calls_come_in_is_whole_in_the_end(
    ledger: Ledger, url: str, folder: Folder
) -> None:
    day = AT.date()
    with ingesting(url):
        for _ in range(3):
            with suppress(BooksDiffer):  # others came in all the time
                export_day(ledger, folder, day, golden.KOLKATA, ["jsonl"])
    export_day(ledger, folder, day, golden.KOLKATA, ["jsonl"])

    found = manifest(folder, day)
    assert len(lines(folder, day)) == found["requests"] > 0
    assert audit(context(ledger, exports=lambda: folder)).verdict == AGREES


def test_the_sums_in_a_manifest_are_those_of_a_recount(ledger: Ledger, folder: Folder) -> None:
    made = golden.calls(300)
    ledger.ingest(made)

    export_day(ledger, folder, DAY, golden.NEW_YORK, [])

    found = manifest(folder, DAY)["sums"]
    figures = next(
        figures
        for (begin,), figures in golden.recount(made, golden.NEW_YORK, "day").items()
        if begin.astimezone(golden.NEW_YORK).date() == DAY
    )
    told = {name: figures[name] for name in found if name in figures and name != "cost"}
    assert {name: found[name] for name in told} == told
    assert found["cost"] == f"{figures['cost'].normalize():f}"
