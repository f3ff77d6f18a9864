"""Exports are held against the sums, also when the calls are gone."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.books.audit.check import Context
from llm_one_api.books.audit.exports import ExportsCheck
from llm_one_api.books.reports.export.export import export_day
from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Folder
from llm_one_api.settings import masked
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, pairs, tamper
from tests.unit.books.export.test_export import delete_calls

UTC_ZONE = ZoneInfo("UTC")
DAY = date(2025, 11, 12)


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path) -> Folder:
    """One with the exports of two days."""
    ledger.ingest([record(n) for n in range(1, 6)] + [record(9, at=AT + timedelta(days=1))])
    it = Folder(tmp_path / "exports")
    for day in (DAY, DAY + timedelta(days=1)):
        export_day(ledger, it, day, UTC_ZONE, ["jsonl"])
    return it


def looking(ledger: Ledger, folder: Folder, **more: object) -> Context:
    return context(ledger, exports=lambda: folder, **more)


def test_exports_that_are_as_they_should_be_agree(ledger: Ledger, folder: Folder) -> None:
    found = ExportsCheck().run(looking(ledger, folder))

    assert found.state == "agrees"
    assert found.compared == {"days": 2, "files": 4}


def test_a_late_call_is_a_difference_that_a_repair_puts_right(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(99)])
    check, looked = ExportsCheck(), looking(ledger, folder)

    found = check.run(looked)
    check.repair(looked, found)
    after = check.run(looked)

    (what, says), = pairs(found)  # fmt: skip
    assert what == {"day": "2025-11-12"}
    assert (says["export"]["requests"], says["sums"]["requests"]) == (5, 6)
    assert (says["export"]["cost"], says["sums"]["cost"]) == ("0.001575", "0.00189")
    assert (found.repairable, after.state) == (1, "agrees")


def test_the_day_that_is_asked_for_is_looked_at_and_no_other(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(99)])
    other = {"since": AT + timedelta(hours=14), "until": AT + timedelta(hours=38)}

    found = ExportsCheck().run(looking(ledger, folder, **other))

    assert found.state == "agrees"
    assert found.compared["days"] == 1


def test_a_day_whose_calls_are_gone_is_held_against_the_sums_for_good(ledger: Ledger, folder: Folder) -> None:
    delete_calls(ledger, AT + timedelta(hours=14))

    agrees = ExportsCheck().run(looking(ledger, folder)).state
    for table in ("rollups_hour", "rollups_day", "rollups_month"):
        tamper(ledger, f"UPDATE {table} SET prompt_tokens = prompt_tokens + 1")
    found = ExportsCheck().run(looking(ledger, folder))

    assert agrees == "agrees"
    assert {what["day"] for what, _ in pairs(found)} == {"2025-11-12", "2025-11-13"}
    assert found.repairable == 1, "of the other day the calls are there"


@pytest.mark.parametrize(
    ("change", "there"),
    [
        (lambda path: path.unlink(), "nothing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"170", b"171")), "another"),
    ],
    ids=["gone", "cut", "changed"],
)
def test_files_that_are_not_what_was_written_are_told_and_written_again(
    ledger: Ledger, folder: Folder, change: object, there: str
) -> None:
    assert callable(change)
    change(Path(folder.where, "records_20251112.jsonl"))
    check, looked = ExportsCheck(), looking(ledger, folder)

    found = check.run(looked)
    check.repair(looked, found)

    ((what, says),) = pairs(found)
    assert what == {"day": "2025-11-12", "file": "records_20251112.jsonl"}
    assert says["there"].endswith(there)
    assert check.run(looked).state == "agrees"


def test_a_manifest_that_cannot_be_read_is_a_difference_that_only_a_person_overwrites(
    ledger: Ledger, folder: Folder
) -> None:
    Path(folder.where, "manifest_20251112.json").write_text("{}")
    check, looked = ExportsCheck(), looking(ledger, folder)

    found = check.run(looked)
    check.repair(looked, found)

    assert [what["file"] for what, _ in pairs(found)] == ["manifest_20251112.json"]
    assert (found.repairable, check.run(looked).count) == (0, 1)
    export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"], overwrite=True)
    assert check.run(looked).compared == {"days": 2, "files": 4}


def test_a_day_that_sums_by_hours_cannot_tell_is_no_difference(ledger: Ledger, tmp_path: Path) -> None:
    ledger.ingest([record(1, at=AT.replace(hour=18, minute=20)), record(2, at=AT.replace(hour=18, minute=40))])
    folder = Folder(tmp_path / "exports")
    export_day(ledger, folder, DAY, ZoneInfo("Asia/Kolkata"), [])  # ends at 18:30 UTC
    delete_calls(ledger, AT + timedelta(days=1))
    while ledger.retention.delete_quarters(AT + timedelta(days=1)).newest:
        pass

    found = ExportsCheck().run(looking(ledger, folder, quarters_since=AT + timedelta(days=1)))

    assert found.state == "agrees"
    assert "not compared" in found.notes[0]


def test_where_nothing_is_exported_there_is_nothing_to_compare(ledger: Ledger, tmp_path: Path) -> None:
    assert ExportsCheck().run(context(ledger)).state == "elsewhere"
    assert ExportsCheck().run(looking(ledger, Folder(tmp_path / "none"))).state == "elsewhere"


def test_a_target_that_is_away_is_neither_agreement_nor_difference(ledger: Ledger) -> None:
    found = ExportsCheck().run(context(ledger, exports=lambda: target_of("nothing://there", {}, masked)))

    assert found.state == "unchecked"
    assert found.unchecked == "nothing://there: ValueError: Protocol not known: nothing"
