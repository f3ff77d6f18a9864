"""What exports have is not lost: to another ledger, to retention, or to somebody who exports at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.audit.exports import ExportsCheck
from llm_one_api.books.jobs import Done, day_of
from llm_one_api.books.reports.export import days
from llm_one_api.books.reports.export.days import Wish, export_late, export_period
from llm_one_api.books.reports.export.export import NotOverwritten, export_day
from llm_one_api.books.reports.export.formats.format import FormatMissing
from llm_one_api.books.reports.export.target import Folder, FolderDraft, Target
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from tests.harness.databases import give_tables
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context
from tests.unit.books.export.files import DAY, contents, lines, manifest, read
from tests.unit.books.export.test_export import delete_calls

ZONE = ZoneInfo("UTC")
LATER = AT + timedelta(days=3)


def wish(target: Target) -> Wish:
    return Wish(target=target, zone=ZONE, formats=("jsonl",), look_back=7)


@pytest.fixture
def other(tmp_path: Path) -> Ledger:
    """A new ledger, that knows of no calls."""
    give_tables(tmp_path / "other.db")
    return Ledger(f"sqlite:///{tmp_path / 'other.db'}")


def test_a_ledger_that_has_fewer_calls_overwrites_nothing_unless_it_is_told_to(
    ledger: Ledger, other: Ledger, target: Target
) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    export_day(ledger, target, DAY, ZONE, ["jsonl"])
    before = contents(target)
    other.ingest([record(1)])

    with capture_logs() as logs:
        late = export_late(other, wish(target), LATER)
        period = export_period(other, wish(target), day_of(DAY, ZONE))

    assert (late.ok, late.result["left"], period.ok, period.result["left"]) == (False, [str(DAY)], False, [str(DAY)])
    assert [log["event"] for log in logs] == ["export.not_overwritten"] * 2
    assert "has 5 calls, the ledger only 1; to overwrite it: llm-one-api export --day 2025-11-12" in logs[0]["error"]
    assert contents(target) == before
    check, looked = ExportsCheck(), context(other, exports=lambda: target)
    found = check.run(looked)
    check.repair(looked, found)
    assert (found.count, found.repairable, contents(target)) == (1, 0, before)
    export_day(other, target, DAY, ZONE, ["jsonl"], overwrite=True)
    assert manifest(target)["requests"] == 1


@pytest.mark.parametrize("damage", [b"{", b'{"version": 2}'])
def test_a_manifest_that_cannot_be_read_is_told_and_left_alone(ledger: Ledger, folder: Folder, damage: bytes) -> None:
    ledger.ingest([record(1)])
    export_day(ledger, folder, DAY, ZONE, ["csv"])
    Path(folder.where, "manifest_20251112.json").write_bytes(damage)
    before = contents(folder)

    late = export_late(ledger, wish(folder), LATER)

    assert (late.ok, late.result["left"], contents(folder)) == (False, [str(DAY)], before)
    export_day(ledger, folder, DAY, ZONE, ["jsonl"], overwrite=True)
    assert {file["format"] for file in manifest(folder)["files"]} == {"summary", "jsonl", "csv"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_deleted_calls_whose_manifest_is_lost_are_not_orphaned(ledger: Ledger, target: Target, overwrite: bool) -> None:
    ledger.ingest([record(1)])
    export_day(ledger, target, DAY, ZONE, ["jsonl", "csv"])
    target.remove("manifest_20251112.json")
    before = contents(target)
    delete_calls(ledger, AT + timedelta(days=1))

    with pytest.raises(NotOverwritten, match=r"records_20251112.jsonl, records_20251112.csv of it have no manifest"):
        export_day(ledger, target, DAY, ZONE, ["jsonl"], overwrite=overwrite)

    assert contents(target) == before


def test_a_day_in_a_format_that_cannot_be_written_here_keeps_no_other_day_waiting(
    ledger: Ledger, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.ingest([record(1), record(2, at=AT + timedelta(days=1))])

    def without_pyarrow(*args: object, **more: object) -> object:
        if args[2] == DAY:
            raise FormatMissing("parquet needs pyarrow")
        return export_day(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(days, "export_day", without_pyarrow)
    with capture_logs() as logs:
        done = export_late(ledger, wish(target), LATER)

    assert (done.ok, done.result["left"]) == (False, [str(DAY)])
    assert [day["day"] for day in done.result["days"]] == ["2025-11-13"]
    assert logs[0]["event"] == "export.format_missing"


def test_a_late_call_of_a_day_that_is_deleted_in_part_is_in_its_summary(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(1, at=AT.replace(hour=1)), record(2, at=AT.replace(hour=20))])
    export_day(ledger, target, DAY, ZONE, ["jsonl"])
    calls = read(target, "records_20251112.jsonl")
    delete_calls(ledger, AT.replace(hour=10))
    ledger.ingest([record(3, at=AT.replace(hour=21))])
    check, looked = ExportsCheck(), context(ledger, exports=lambda: target)

    found = check.run(looked)
    check.repair(looked, found)

    assert (found.count, found.repairable, check.run(looked).state) == (1, 1, "agrees")
    assert read(target, "records_20251112.jsonl") == calls
    assert [(file["format"], file["rows"]) for file in manifest(target)["files"]] == [("summary", 3), ("jsonl", 2)]
    assert export_day(ledger, target, DAY, ZONE, ["jsonl"]).state == "kept"


def test_older_calls_that_another_puts_in_between_do_not_stay(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(1, cost=Decimal("0.000315"), price_source="table")])

    class Between(Folder):
        """Before its first manifest has its name, another exporter puts its calls in place, as they were before."""

        def __init__(self, then: Callable[[], None]) -> None:
            super().__init__(Path(folder.where))
            self.then: list[Callable[[], None]] = [then]

        def draft(self) -> FolderDraft:
            draft = super().draft()
            put = draft.put

            def late(name: str) -> None:
                if name.startswith("manifest_") and self.then:
                    self.then.pop()()
                put(name)

            draft.put = late  # type: ignore[method-assign]
            return draft

    export_day(ledger, folder, DAY, ZONE, ["jsonl"])
    path = Path(folder.where, "records_20251112.jsonl")
    old = path.read_bytes()
    (kept,) = ledger.prices.page(AT - timedelta(days=1), AT + timedelta(days=1), priced=True)
    ledger.prices.change([
        Change(
            seq=kept.seq, before=kept.record.cost, cost=Decimal("0.000325"), price_source="table", price_date=None
        )
    ])  # fmt: skip

    def put_old() -> None:
        path.write_bytes(old)

    export_day(ledger, Between(put_old), DAY, ZONE, ["jsonl"])

    assert manifest(folder)["sums"]["cost"] == "0.000325"
    assert [line["cost"] for line in lines(folder)] == ["0.000325"]
    assert export_late(ledger, wish(folder), LATER) == Done(result={"days": [], "differ": [], "left": []})
