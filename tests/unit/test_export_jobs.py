"""The jobs that export, as workers and `llm-one-api jobs run` do them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from llm_one_api.books.jobs import day_of, due, work
from llm_one_api.books.reports.export.target import Folder
from llm_one_api.cli.jobs import Means
from llm_one_api.periodic import jobs
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.timetable import planned
from tests.harness.records import AT, record
from tests.unit.books.export.files import manifest


def settings(folder: Path, *, keep_records_days: int | None = None, **export: object) -> Settings:
    return Settings.model_validate({
        "data_dir": str(folder), "plugins": {"stats": []}, "export": export,
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}", "keep_records_days": keep_records_days},
    })  # fmt: skip


def test_they_are_there_if_exports_are_on_and_come_before_retention_and_the_audit(tmp_path: Path) -> None:
    off = [job.name for job in planned(settings(tmp_path))]
    on = [job.name for job in planned(settings(tmp_path, enabled=True))]

    assert "export" not in off
    assert [name for name in on if name not in off] == on[:2] == ["export", "export-late"]


def test_retention_waits_for_the_export_of_a_day(tmp_path: Path) -> None:
    said = settings(tmp_path, keep_records_days=1, enabled=True)
    ledger = Ledger(said.ledger.url)
    ledger.upgrade()
    now = ledger.job_runs.now()
    midnight = now.astimezone(said.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    noon = midnight - timedelta(days=2, hours=12)  # of the day before the one before
    ledger.ingest([record(1, at=noon)])
    todo = {job.name: job for job in jobs(said, Means(said, ledger))}
    missed = day_of(noon.date(), said.zone)
    run = ledger.job_runs.claim("export", missed.start, 0.0, 5)  # somebody began it, and died

    waiting = todo["retention"].run(missed)
    assert run is not None
    for day in due(ledger.job_runs, todo["export"], said.zone):
        work(ledger.job_runs, todo["export"], day, str)
    after = todo["retention"].run(missed)
    ledger.close()

    assert (waiting.result["records"], after.result["records"]) == (0, 1)
    assert manifest(Folder(tmp_path / "exports"), noon.date())["requests"] == 1


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
