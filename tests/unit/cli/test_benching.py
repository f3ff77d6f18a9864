"""The invented calls of `bench`, and its table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from llm_one_api.cli.benching import report
from llm_one_api.cli.benching.calls import KEYS, KINDS, MODELS, Invented, invent
from llm_one_api.cli.benching.carrying import Carried, Point
from llm_one_api.cli.benching.filling import Filled, fill
from llm_one_api.cli.benching.processes import Taken
from llm_one_api.stores.journal.entries import Closed, Entry
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.targets import Target, Upstream

TARGETS = {
    model.name: Target(
        model=model.name, upstream_model=model.upstream_model, upstream=Upstream(name="u", base_url=model.base)
    )
    for model in MODELS
}


def invented(seed: int = 1) -> list[Invented]:
    return list(invent(TARGETS, seed))


def entries(folder: Path) -> list[Entry]:
    found: list[Entry] = []
    for path in sorted(folder.glob("*.seg")):
        reader = SegmentReader(path)
        while not reader.done:
            found += [each.entry for each in reader.read(final=True)]
    return found


def test_calls_are_as_varied_as_those_of_a_day_and_the_same_each_time() -> None:
    calls = invented()

    assert calls == invented()
    assert calls != invented(seed=2)
    assert len(calls) == KINDS
    assert len({call.caller.key for call in calls}) == KEYS
    assert {call.target.model for call in calls} == {model.name for model in MODELS}
    outcomes = Counter(call.outcome for call in calls)
    assert len(outcomes) == 8
    assert outcomes["success"] > 0.9 * KINDS
    assert {call.stream for call in calls} == {True, False}


def test_a_journal_is_filled_with_so_many_finished_calls_of_all_sources(tmp_path: Path) -> None:
    filled = fill(tmp_path, 3000, TARGETS, stopping=lambda: False)

    records = [entry.record for entry in entries(tmp_path) if isinstance(entry, Closed)]
    assert filled.calls == len(records) == len({record.request_id for record in records}) == 3000
    assert filled.cpu_seconds > 0
    assert {record.usage_source for record in records} == {"reported", "estimated", "partial", "none"}
    assert all(record.duration is not None for record in records)


def test_filling_stops_when_told_to(tmp_path: Path) -> None:
    filled = fill(tmp_path, 3000, TARGETS, stopping=lambda: True)

    assert filled.calls == 0


def made(last: Point, *faults: str) -> report.Report:
    curve = [Point(seconds=float(n), ledger=n * 100, log=n * 90, memory=n * 80) for n in range(12)]
    return report.Report(
        ledger="SQLite",
        broker="Valkey",
        filled=Filled(calls=1200, cpu_seconds=0.024, bytes=1_200_000),
        carried=Carried(
            curve=(*curve, last),
            taken=(Taken(name="relay", processes=1, cpu_seconds=0.06, peak_mb=70.4),),
            busy=0.9,
            restarts=0,
        ),
        faults=faults,
    )


def test_the_table_tells_the_rate_from_the_first_record_to_the_last_everywhere() -> None:
    whole = made(Point(seconds=12.0, ledger=1200, log=1200, memory=1200))

    text, told = report.as_text(whole), json.loads(report.as_json(whole))

    assert whole.is_whole
    assert "20.0 µs CPU a call" in text
    assert "100 records/s" in text
    assert told["records_per_second"] == 100
    assert told["processes"] == [
        {"name": "relay", "processes": 1, "cpu_seconds": 0.06, "cpu_us_per_record": 50.0, "peak_mb": 70.4}
    ]
    assert len(told["curve"]) == 13
    assert "NOT WHOLE" not in text


def test_what_did_not_arrive_or_is_wrong_is_told() -> None:
    late = made(Point(seconds=12.0, ledger=1200, log=1200, memory=1100))
    wrong = made(Point(seconds=12.0, ledger=1200, log=1200, memory=1200), "the log has 7 lines")

    assert not late.is_whole
    assert "NOT WHOLE: 100 records" in report.as_text(late)
    assert not wrong.is_whole
    assert "WRONG: the log has 7 lines" in report.as_text(wrong)
