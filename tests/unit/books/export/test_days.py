"""Which days are exported without anybody asking, and what the periodic jobs do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.jobs import Done, Job, day_of, tick
from llm_one_api.books.reports.export.days import Wish, export_late, export_period, wanted
from llm_one_api.books.reports.export.export import export_day
from llm_one_api.books.reports.export.target import Folder, Target
from llm_one_api.books.reprice import reprice
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import tamper
from tests.unit.books.export.files import DAY, contents, manifest
from tests.unit.books.export.test_export import delete_calls

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2025, 11, 15, 3, tzinfo=UTC)


def wish(target: Target, *formats: str, look_back: int = 7) -> Wish:
    return Wish(target=target, zone=ZONE, formats=formats or ("jsonl",), look_back=look_back)


@pytest.fixture
def calls(ledger: Ledger) -> Ledger:
    """A ledger with calls on four days, of which one is today."""
    ledger.ingest([record(n, at=AT + timedelta(days=n - 2)) for n in range(1, 6) if n != 3])
    return ledger


def test_days_that_were_missed_are_exported_once_and_days_without_calls_are_not(calls: Ledger, target: Target) -> None:
    first = export_late(calls, wish(target), NOW)
    second = export_late(calls, wish(target), NOW)

    assert [day["day"] for day in first.result["days"]] == ["2025-11-11", "2025-11-12", "2025-11-14"]
    assert second == Done(result={"days": [], "differ": [], "left": []})


def test_the_day_that_is_over_is_exported_even_if_nobody_called(ledger: Ledger, target: Target) -> None:
    done = export_period(ledger, wish(target), day_of(DAY, ZONE))

    assert [(day["day"], day["state"], day["requests"]) for day in done.result["days"]] == [
        ("2025-11-12", "written", 0)
    ]


def test_a_late_call_has_its_day_exported_again_and_no_other(calls: Ledger, target: Target) -> None:
    export_late(calls, wish(target), NOW)
    before = contents(target)

    calls.ingest([record(99, at=AT - timedelta(hours=1))])
    done = export_late(calls, wish(target), NOW)

    assert [(day["day"], day["requests"]) for day in done.result["days"]] == [("2025-11-12", 2)]
    changed = {name for name, text in contents(target).items() if before.get(name) != text}
    assert changed == {"manifest_20251112.json", "records_20251112.jsonl", "stats_20251112.json"}


def test_a_price_that_is_given_later_is_in_the_export_too(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(1, cost=None)])
    export_late(ledger, wish(target, "focus"), NOW)
    rows = manifest(target)["files"][1]["rows"]

    settings = Settings.model_validate({"pricing": {"gpt-3.5-turbo*": {"per": "1M", "input": "1", "output": "2"}}})
    reprice(ledger.prices, settings.pricer().price, AT - timedelta(days=1), AT + timedelta(days=1))
    export_late(ledger, wish(target, "focus"), NOW)

    assert rows == 0
    assert manifest(target)["files"][1]["rows"] == 1
    assert Decimal(manifest(target)["sums"]["cost"]) == Decimal("0.00029")


def test_a_format_that_is_new_in_the_config_and_a_file_that_is_gone_are_made_up_for(
    calls: Ledger, folder: Folder
) -> None:
    export_late(calls, wish(folder), NOW)
    Path(folder.where, "records_20251111.jsonl").unlink()

    gone = list(wanted(calls, wish(folder), NOW))
    new = list(wanted(calls, wish(folder, "jsonl", "csv"), NOW))

    assert gone == [date(2025, 11, 11)]
    assert new == [date(2025, 11, day) for day in (11, 12, 14)]


def test_older_days_are_left_alone(calls: Ledger, target: Target) -> None:
    assert list(wanted(calls, wish(target, look_back=1), NOW)) == [date(2025, 11, 14)]


def test_days_whose_calls_are_deleted_are_left_alone(calls: Ledger, target: Target) -> None:
    export_late(calls, wish(target), NOW)
    delete_calls(calls, AT + timedelta(days=1))

    assert list(wanted(calls, wish(target, "jsonl", "csv"), NOW)) == [date(2025, 11, 14)]


def test_another_time_zone_makes_other_days(calls: Ledger, target: Target) -> None:
    export_day(calls, target, DAY, ZoneInfo("UTC"), ["jsonl"])

    assert DAY in list(wanted(calls, wish(target), NOW))


def test_a_day_whose_books_differ_is_told_and_holds_up_no_other(calls: Ledger, target: Target) -> None:
    tamper(calls, "UPDATE rollups_hour SET requests = requests + 1 WHERE slot LIKE '2025-11-11%'")

    with capture_logs() as logs:
        done = export_late(calls, wish(target), NOW)

    assert not done.ok
    assert done.result["differ"] == ["2025-11-11"]
    assert [day["day"] for day in done.result["days"]] == ["2025-11-12", "2025-11-14"]
    told = [(log["event"], log["day"]) for log in logs if log["log_level"] == "warning"]
    assert told == [("export.books_differ", "2025-11-11")]


def test_others_get_a_turn_while_many_days_are_made_up_for(calls: Ledger, target: Target) -> None:
    clock = iter([0.0, 10.0, 70.0, 80.0])

    done = export_late(calls, wish(target), NOW, clock=lambda: next(clock))

    assert done.more
    assert len(done.result["days"]) < 3
    assert not export_late(calls, wish(target), NOW).more


def test_missed_days_are_made_up_for_by_the_daily_job(ledger: Ledger, folder: Folder) -> None:
    today = ledger.job_runs.now()
    ledger.ingest([record(n, at=today - timedelta(days=n)) for n in range(1, 4)])
    job = Job(
        name="export", every="day", delay=timedelta(), run=lambda period: export_period(ledger, wish(folder), period)
    )
    first = day_of(today.astimezone(ZONE).date() - timedelta(days=3), ZONE)
    run = ledger.job_runs.claim("export", first.start, 0, 5)
    assert run
    ledger.job_runs.put_off(run, -1, took=0)  # beat struck three days ago, and then no more

    tick(ledger.job_runs, [job], ZONE)

    assert len([name for name in folder.names() if name.startswith("manifest_")]) == 3
