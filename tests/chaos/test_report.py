"""What is printed of runs, and when one of them shows nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.deal import hand
from tests.chaos.evidence import SENT, answer, evidence, record
from tests.chaos.faults.kills import RelayKilled, WorkerKilled
from tests.chaos.faults.stops import WorkerStopped
from tests.chaos.report import table, told
from tests.chaos.run import Played, Run
from tests.harness.judge import Evidence, Verdict


def run(given: Evidence | None = None, **changes: Any) -> Run:
    """A run in which the relay was killed, 60 s after the calls of the evidence unless told otherwise."""
    made: dict[str, Any] = {
        "played": [Played(name=RelayKilled.name, window=(160.0, 170.0))],
        "taken_twice": 1,
        "adopted": 1,
        **changes,
    }
    return Run(hand=hand(1, [RelayKilled]), verdict=Verdict(given or evidence()), **made)


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_table_has_the_calls_that_were_under_way_while_a_fault_lasted() -> None:
    late = answer("call.plain-0", began=165.0, seconds=1.0)
    it = evidence()
    answers = [late, *(each for each in it.answers if each.name != late.name)]

    text = table([run(replace(it, answers=answers)), run()])

    assert row(text, RelayKilled.name) == ["2", "1", "1", "0", "0", "810"]
    assert row(text, "**whole runs**") == ["2", str(2 * len(SENT)), str(2 * len(SENT)), "0", "0", "810"]


def test_what_a_call_waited_for_its_own_process_counts_where_that_was_disturbed() -> None:
    waited = answer("call.plain-0", seconds=20.0)
    it = evidence()
    answers = [waited, *(each for each in it.answers if each.name != waited.name)]
    stalled = replace(it, answers=answers, stalls=[(101.0, 119.0)])
    window = (99.0, 121.0)

    text = table(
        [run(stalled, played=[Played(name=each.name, window=window) for each in (RelayKilled, WorkerStopped)])]
    )

    assert row(text, RelayKilled.name)[-1] == "10"
    assert row(text, WorkerStopped.name)[-1] == "19,810"
    assert row(text, "**whole runs**")[-1] == "19,810"


def test_what_a_call_still_waits_for_when_a_fault_begins_is_not_of_that_fault() -> None:
    waited = answer("call.plain-0", seconds=20.0)
    it = evidence()
    answers = [waited, *(each for each in it.answers if each.name != waited.name)]
    stalled = replace(it, answers=answers, stalls=[(101.0, 119.0)])

    text = table([run(stalled, played=[Played(name=WorkerKilled.name, window=(119.5, 130.0))])])

    assert row(text, WorkerKilled.name) == ["1", "1", "1", "0", "0", "0"]


def test_the_table_has_what_was_lost_and_doubled() -> None:
    it = evidence()
    first, second, *others = it.records
    window = [Played(name=RelayKilled.name, window=(99.0, 101.0))]

    text = table([run(replace(it, records=[second, second, *others]), played=window)])

    assert row(text, RelayKilled.name) == ["1", str(len(SENT)), str(len(SENT)), "1", "1", "10"]
    assert first.end_user == SENT[0]


def test_a_run_shows_nothing_without_an_adoption_a_second_delivery_or_a_hit() -> None:
    missed = [Played(name=RelayKilled.name, window=(0.0, 1.0), missed="it was not there")]

    assert run().void == []
    assert run(adopted=0).void == ["no call was adopted"]
    assert run(taken_twice=0).void == ["no batch was delivered a second time"]
    assert run(played=missed).void == [f"{RelayKilled.name}: it was not there"]
    assert "VOID   no call was adopted" in told(run(adopted=0))


def test_a_fault_that_did_not_hit_is_not_in_the_table() -> None:
    text = table([run(played=[Played(name=RelayKilled.name, window=(0.0, 999.0), missed="no")])])

    assert RelayKilled.name not in text


def test_what_is_wrong_is_told() -> None:
    assert "WRONG  memory has 1 requests, the records 2" in told(run(wrong=["memory has 1 requests, the records 2"]))
    assert record(SENT[0]).outcome in told(run())
