"""One day becomes files: whole, true, and the same however often."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from llm_one_api.books.jobs import day_of
from llm_one_api.books.reports.export.export import BooksDiffer, export_day
from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Folder, Target, TargetError, temporary_name
from llm_one_api.settings import masked
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness import golden
from tests.harness.disks import at_most
from tests.harness.records import AT, bare, record
from tests.unit.books.audit.looking import tamper
from tests.unit.books.export.files import ALL, DAY, contents, lines, manifest, read

UTC_ZONE = ZoneInfo("UTC")


def delete_calls(ledger: Ledger, before: datetime) -> None:
    while ledger.retention.delete_records(before, ledger.last_seq()).newest:
        pass


def test_a_day_is_a_summary_its_calls_and_a_manifest_of_both(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])

    done = export_day(ledger, target, DAY, UTC_ZONE, ["jsonl"])

    assert target.names() == ["manifest_20251112.json", "records_20251112.jsonl", "stats_20251112.json"]
    assert (done.state, len(done.written)) == ("written", 3)
    found = manifest(target)
    assert [(file["name"], file["rows"]) for file in found["files"]] == [
        ("stats_20251112.json", 5),
        ("records_20251112.jsonl", 5),
    ]
    assert (found["requests"], found["sums"]["total_tokens"], found["sums"]["cost"]) == (5, 850, "0.001575")
    assert [line["request_id"] for line in lines(target)] == [f"0193-{n:08}" for n in range(1, 6)]


def test_the_summary_is_as_the_memory_plugin_tells_it_by_model_and_by_user(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([
        record(1, user="alice"), record(2, user="bob", model="gpt-4", cost=Decimal("0.0087")),
        record(3, user="bob"), bare(4, user="bob", model="gpt-4"), record(5, user="bob", cost=None),
    ])  # fmt: skip

    export_day(ledger, folder, DAY, UTC_ZONE, [])

    told = msgspec.json.decode(read(folder, "stats_20251112.json"))
    assert told["total_requests"] == 5
    assert {model: figures["requests"] for model, figures in told["models"].items()} == {"gpt-3.5-turbo": 3, "gpt-4": 2}
    assert told["models"]["gpt-4"] == {
        "requests": 2, "prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170, "duration": 2.5,
        "avg_tokens": 170.0, "avg_duration": 2.5, "streams": 0, "outcomes": {"aborted": 1, "success": 1}, "failed": 1,
        "error_rate": 0.5, "cost": "0.0087", "unpriced": 0,
    }  # fmt: skip
    assert list(told["users"]) == ["bob", "alice"]
    assert {model: each["requests"] for model, each in told["users"]["bob"]["models"].items()} == {
        "gpt-3.5-turbo": 2,
        "gpt-4": 2,
    }
    assert (told["users"]["bob"]["cost"], told["users"]["bob"]["unpriced"]) == ("0.009015", 1)


def test_what_is_unknown_is_null_in_the_summary(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([bare(1)])

    export_day(ledger, folder, DAY, UTC_ZONE, [])

    (figures,) = msgspec.json.decode(read(folder, "stats_20251112.json"))["models"].values()
    unknown = ("prompt_tokens", "completion_tokens", "total_tokens", "duration", "avg_tokens", "avg_duration", "cost")
    assert {name: figures[name] for name in unknown} == dict.fromkeys(unknown)


def test_a_day_without_calls_is_files_all_the_same(ledger: Ledger, target: Target) -> None:
    export_day(ledger, target, DAY, UTC_ZONE, ALL)

    assert manifest(target)["requests"] == 0
    assert read(target, "records_20251112.json") == b"[]\n"
    assert lines(target) == []


def test_to_do_it_twice_changes_nothing(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(1, 50)])
    export_day(ledger, folder, DAY, UTC_ZONE, ALL)
    before, times = contents(folder), modified(folder)

    again = export_day(ledger, folder, DAY, UTC_ZONE, ALL)
    elsewhere = Folder(Path(folder.where).parent / "elsewhere")
    export_day(ledger, elsewhere, DAY, UTC_ZONE, ALL)

    assert (again.state, again.written) == ("unchanged", ())
    assert (contents(folder), modified(folder)) == (before, times)
    assert contents(elsewhere) == before


def modified(folder: Folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path(folder.where).iterdir()}


def test_a_late_call_is_in_it_the_next_time_and_all_formats_have_it(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    export_day(ledger, target, DAY, UTC_ZONE, ["csv", "jsonl"])

    ledger.ingest([record(99, at=AT - timedelta(hours=3))])
    done = export_day(ledger, target, DAY, UTC_ZONE, ["jsonl"])

    assert done.state == "written"
    assert lines(target)[0]["request_id"] == "0193-00000099"
    found = manifest(target)
    assert found["requests"] == 6
    assert {file["format"]: file["rows"] for file in found["files"]} == {"summary": 6, "jsonl": 6, "csv": 6}


def test_another_format_joins_those_that_are_there(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(1)])
    export_day(ledger, target, DAY, UTC_ZONE, ["jsonl"])

    done = export_day(ledger, target, DAY, UTC_ZONE, ["focus"])

    assert done.written == ("focus_20251112.csv", "manifest_20251112.json")
    assert [file["format"] for file in manifest(target)["files"]] == ["summary", "jsonl", "focus"]


def test_a_file_that_was_changed_is_put_right(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(1)])
    export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"])
    path = Path(folder.where, "records_20251112.jsonl")
    path.write_bytes(path.read_bytes().replace(b"170", b"171"))

    done = export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"])

    assert done.written == ("records_20251112.jsonl", "manifest_20251112.json")
    assert manifest(folder)["requests"] == 1


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
def test_of_a_golden_year_each_call_is_in_the_file_of_one_day_whatever_the_clocks_do(
    ledger: Ledger, zone: ZoneInfo
) -> None:
    folder = target_of(f"memory://golden/{zone.key}", {}, masked)  # a disk takes its time for so many small files
    made = golden.calls(300)
    ledger.ingest(made)
    expected = golden.recount(made, zone, "day")

    for (begin,) in expected:
        export_day(ledger, folder, begin.astimezone(zone).date(), zone, ["jsonl"])

    seen: list[str] = []
    for (begin,), figures in expected.items():
        day = begin.astimezone(zone).date()
        found = manifest(folder, day)
        sums = {**found["sums"], "cost": found["sums"]["cost"] and Decimal(found["sums"]["cost"])}
        assert {name: sums[name] for name in sums if name in figures} == {
            name: figures[name] for name in figures if name in sums
        }
        assert found["until"] == day_of(day, zone).end.isoformat().replace("+00:00", "Z")
        ids = [line["request_id"] for line in lines(folder, day)]
        assert len(ids) == figures["requests"]
        seen += ids
    assert sorted(seen) == sorted(call.request_id for call in made)


def test_days_with_23_and_25_hours_and_a_call_over_midnight() -> None:
    """The golden year has both; this says what is meant."""
    berlin = golden.BERLIN
    hours = [
        (day_of(day, berlin).end - day_of(day, berlin).start) / timedelta(hours=1)
        for day in (date(2028, 3, 26), date(2028, 10, 29), date(2028, 2, 29))
    ]

    assert hours == [23, 25, 24]


def test_a_call_that_spans_midnight_is_of_the_day_on_which_it_was_admitted(ledger: Ledger, folder: Folder) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    midnight = datetime(2025, 11, 12, 16, tzinfo=UTC)
    ledger.ingest([
        record(1, at=midnight - timedelta(microseconds=1), duration=3600.0), record(2, at=midnight),
    ])  # fmt: skip

    for day in (DAY, date(2025, 11, 13)):
        export_day(ledger, folder, day, zone, ["jsonl"])

    first, second = lines(folder), lines(folder, date(2025, 11, 13))
    assert [line["at"] for line in first] == ["2025-11-12T23:59:59.999999+08:00"]
    assert [line["at"] for line in second] == ["2025-11-13T00:00:00.000000+08:00"]


def test_calls_that_retention_has_deleted_stay_exported(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    export_day(ledger, target, DAY, UTC_ZONE, ["jsonl"])
    before = contents(target)
    delete_calls(ledger, AT + timedelta(days=1))

    done = export_day(ledger, target, DAY, UTC_ZONE, ["jsonl", "csv"])

    assert (done.state, done.without) == ("kept", ("csv",))
    assert contents(target) == before


def test_a_day_whose_calls_are_gone_before_it_was_exported_has_its_summary(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    delete_calls(ledger, AT + timedelta(days=1))

    done = export_day(ledger, target, DAY, UTC_ZONE, ["jsonl"])

    assert (done.state, done.without) == ("written", ("jsonl",))
    assert target.names() == ["manifest_20251112.json", "stats_20251112.json"]
    assert manifest(target)["requests"] == 5


def test_calls_that_are_deleted_while_they_are_read_leave_no_part_of_a_day(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])

    done = export_day(
        ledger, folder, DAY, UTC_ZONE, ["jsonl"], progress=lambda _: delete_calls(ledger, AT + timedelta(days=1))
    )

    assert done.without == ("jsonl",)
    assert manifest(folder)["requests"] == 5


def test_a_call_that_comes_in_while_the_day_is_read_is_not_missing(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(2, 6)])
    late = iter([record(1, at=AT - timedelta(hours=1))])

    def come_in(_calls: int) -> None:
        ledger.ingest(list(late))

    export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"], progress=come_in)

    assert len(lines(folder)) == manifest(folder)["requests"] == 5


def test_books_that_do_not_agree_are_not_exported(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(1)])
    export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"])
    before = contents(folder)
    ledger.ingest([record(2)])
    tamper(ledger, "UPDATE rollups_hour SET prompt_tokens = prompt_tokens + 1")

    with pytest.raises(BooksDiffer, match="llm-one-api verify --day 2025-11-12"):
        export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"])

    assert contents(folder) == before


def test_on_a_full_disk_the_files_from_before_stay_and_nothing_half_is_left(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(1, 6)])
    export_day(ledger, folder, DAY, UTC_ZONE, ALL)
    before = contents(folder)
    ledger.ingest([record(n) for n in range(10, 900)])

    with at_most(100_000), pytest.raises(TargetError, match=r"\.export-.*: File too large"):
        export_day(ledger, folder, DAY, UTC_ZONE, ALL)

    assert contents(folder) == before
    export_day(ledger, folder, DAY, UTC_ZONE, ALL)
    assert manifest(folder)["requests"] == 895


def test_two_at_once_leave_one_whole_export(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(1, 200)])
    failed: list[Exception] = []
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        try:
            export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl", "csv"])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert manifest(folder)["requests"] == 199
    assert len(folder.names()) == 4


def test_what_a_killed_export_has_left_is_taken_away_when_it_is_old(ledger: Ledger, target: Target) -> None:
    ledger.ingest([record(1)])
    fresh = temporary_name()
    for name in (temporary_name(now=AT.timestamp()), fresh, "notes.tmp"):
        draft = target.draft()
        draft.write(b"half")
        draft.finish()
        draft.put(name)

    export_day(ledger, target, DAY, UTC_ZONE, [])

    assert target.names() == sorted([fresh, "manifest_20251112.json", "notes.tmp", "stats_20251112.json"])


def test_pages_neither_leave_out_nor_repeat_calls_of_one_moment(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n, at=AT) for n in range(1, 2101)])
    told: list[int] = []

    export_day(ledger, folder, DAY, UTC_ZONE, ["jsonl"], progress=told.append)

    assert len({line["request_id"] for line in lines(folder)}) == 2100
    assert told == [2000, 2100]


def test_what_the_provider_said_in_its_own_words_is_in_no_export(ledger: Ledger, target: Target) -> None:
    raw: dict[str, Any] = {"prompt_tokens": 50, "note": "CANARY-sk-0123456789"}
    ledger.ingest([record(1, usage_raw=raw)])

    export_day(ledger, target, DAY, UTC_ZONE, ALL)

    assert len(target.names()) == 7
    assert [name for name, text in contents(target).items() if b"CANARY" in text] == []
