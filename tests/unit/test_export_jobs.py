"""The jobs that export, as workers and `llm-one-api jobs run` do them."""

from __future__ import annotations

from pathlib import Path

from llm_one_api.books.jobs import day_of
from llm_one_api.books.reports.export.target import Folder
from llm_one_api.cli.jobs import Means
from llm_one_api.periodic import jobs
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.timetable import planned
from tests.harness.records import AT, record
from tests.unit.books.export.files import manifest


def settings(folder: Path, **export: object) -> Settings:
    return Settings.model_validate({
        "data_dir": str(folder), "plugins": {"stats": []}, "export": export,
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
    })  # fmt: skip


def test_they_are_there_if_exports_are_on_and_come_before_the_audit(tmp_path: Path) -> None:
    off = [job.name for job in planned(settings(tmp_path))]
    on = [job.name for job in planned(settings(tmp_path, enabled=True))]

    assert "export" not in off
    assert [name for name in on if name in {"export", "export-late", "audit"}] == ["export", "export-late", "audit"]


def test_each_does_its_work_and_the_audit_of_the_day_looks_at_it(tmp_path: Path) -> None:
    said = settings(tmp_path, enabled=True, formats=["csv"])
    ledger = Ledger(said.ledger.url)
    ledger.upgrade()
    ledger.ingest([record(n) for n in range(1, 4)])
    day = day_of(AT.date(), said.zone)
    work = {job.name: job.run for job in jobs(said, Means(said, ledger))}

    done = work["export"](day)
    late = work["export-late"](day)
    audited = work["audit"](day)
    ledger.close()

    assert done.result["days"][0]["requests"] == 3
    assert late.ok
    assert audited.result["checks"]["exports"] == "agrees"
    assert manifest(Folder(tmp_path / "exports"))["requests"] == 3
