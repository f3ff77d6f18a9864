"""The judge finds what was tampered with, and nothing where nothing was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from llm_one_api.values import Outcome, Usage
from tests.chaos.evidence import SENT, answer, evidence, record
from tests.harness.bookkeeper import kind_of, used
from tests.harness.judge import Evidence, Verdict
from tests.harness.records import bare


def with_record(name: str, **changes: Any) -> Evidence:
    """Change what is kept of one call."""
    it = evidence()
    changed = [msgspec.structs.replace(each, **changes) if each.end_user == name else each for each in it.records]
    return replace(it, records=changed)


def with_answer(name: str, **changes: Any) -> Evidence:
    """Change what one caller saw."""
    it = evidence()
    return replace(it, answers=[each._replace(**changes) if each.name == name else each for each in it.answers])


def without_record(name: str) -> Evidence:
    it = evidence()
    return replace(it, records=[each for each in it.records if each.end_user != name])


PLAIN, STREAM, CUT, BAD, LEFT, UNTOLD = (
    next(name for name in SENT if kind_of(name) == kind)
    for kind in ("plain", "stream", "cut", "bad", "left", "untold")
)  # fmt: skip
FEWER = Usage(prompt_tokens=999, completion_tokens=1)


def test_nothing_is_wrong_with_books_that_are_right() -> None:
    verdict = Verdict(evidence())

    assert verdict.faults == []
    assert verdict.outcomes.total() == len(SENT)


def test_a_record_that_is_missing_is_lost() -> None:
    verdict = Verdict(without_record(BAD))

    assert verdict.lost == {BAD}
    assert verdict.faults == [f"1 upstream and never counted: {BAD}"]


def test_a_record_that_is_there_twice_is_doubled() -> None:
    it = evidence()

    verdict = Verdict(replace(it, records=[*it.records, record(PLAIN)]))

    assert verdict.doubled == {PLAIN}
    assert verdict.faults == [f"1 counted more than once: {PLAIN}"]


@pytest.mark.parametrize(
    ("tampered", "fault"),
    [
        pytest.param(lambda: with_record(PLAIN, usage=FEWER), "with other tokens", id="other tokens"),
        pytest.param(lambda: with_record(PLAIN, usage_source="estimated"), "with other tokens", id="another source"),
        pytest.param(lambda: with_record(UNTOLD, usage_source="none"), "with other tokens", id="not estimated"),
        pytest.param(
            lambda: with_record(CUT, usage=FEWER, usage_source="reported"), "tokens that nobody told", id="invented"
        ),
        pytest.param(lambda: with_record(PLAIN, outcome="aborted"), "aborted, though", id="aborted without a kill"),
        pytest.param(lambda: with_record(STREAM, outcome="truncated"), "finished, and no success", id="no success"),
        pytest.param(lambda: with_record(CUT, outcome="success"), "success before its end", id="too early a success"),
        pytest.param(lambda: with_record(BAD, outcome="upstream_error"), "another outcome", id="another outcome"),
        pytest.param(lambda: with_record(PLAIN, provider_request_id="up-x"), "of another call", id="another's id"),
        pytest.param(lambda: with_record(PLAIN, request_id="id-x"), "than its caller was told", id="not its id"),
        pytest.param(lambda: with_answer(PLAIN, seen="broken"), "not served", id="broken without a kill"),
        pytest.param(lambda: with_answer(BAD, seen="whole"), "not served", id="served otherwise"),
        pytest.param(lambda: with_answer(PLAIN, seconds=9.0), "late", id="late"),
        pytest.param(lambda: replace(evidence(), answers=evidence().answers[1:]), "never answered", id="no answer"),
        pytest.param(
            lambda: replace(evidence(), received={**evidence().received, PLAIN: 2}),
            "upstream more than once",
            id="twice",
        ),
        pytest.param(
            lambda: replace(evidence(), records=[*evidence().records, record("call.plain-99")]),
            "nobody made such a call",
            id="one too many",
        ),
        pytest.param(
            lambda: replace(evidence(), records=[*evidence().records, bare(outcome="rejected")]),
            "nobody made such a call",
            id="a refusal that nobody saw",
        ),
        pytest.param(lambda: never_there("success"), "as if it had been upstream", id="never there"),
        pytest.param(lambda: never_there("rejected"), "though there was a gateway", id="refused for no reason"),
    ],
)
def test_what_was_tampered_with_is_found(tampered: Callable[[], Evidence], fault: str) -> None:
    faults = Verdict(tampered()).faults

    assert any(fault in each for each in faults), faults


def never_there(outcome: Outcome) -> Evidence:
    """A call that never arrived at the upstream, and has a record."""
    it = with_record(PLAIN, outcome=outcome)
    return replace(
        it,
        received={name: 1 for name in SENT if name != PLAIN},
        finished={name: told for name, told in it.finished.items() if name != PLAIN},
    )


def test_a_call_that_is_charged_for_other_tokens_than_its_own_is_found() -> None:
    assert Verdict(with_record(STREAM, quota_tokens=1)).faults == [
        f"1 charged for other tokens than they used: {STREAM}"
    ]


def test_a_call_that_no_quota_was_charged_for_is_found_where_others_were() -> None:
    it = evidence()
    unlimited = [msgspec.structs.replace(each, quota_windows=(), quota_tokens=None) for each in it.records]

    assert Verdict(with_record(LEFT, quota_windows=())).faults == [
        f"1 upstream and charged to no quota, as others are: {LEFT}"
    ]
    assert Verdict(replace(it, records=unlimited)).faults == []


# -- what kills, stops and outages excuse --


def test_a_call_that_was_under_way_at_a_kill_may_be_aborted_and_broken_but_not_lost() -> None:
    killed = replace(with_answer(PLAIN, seen="broken", status=None, id=None), at_kills={PLAIN})
    records = [record(name) for name in SENT if name != PLAIN]

    aborted = Verdict(replace(killed, records=[*records, record(PLAIN, outcome="aborted", provider_request_id=None)]))
    lost = Verdict(replace(killed, records=records))

    assert aborted.faults == []
    assert lost.lost == {PLAIN}
    assert lost.faults == [f"1 upstream and never counted: {PLAIN}"]


def test_a_call_whose_caller_saw_the_end_is_not_excused_by_a_kill() -> None:
    it = replace(with_record(PLAIN, outcome="aborted"), at_kills={PLAIN})

    assert Verdict(it).faults == [f"1 counted as no success, though its caller saw the end: {PLAIN}"]


def test_tokens_need_not_be_counted_by_a_process_that_was_killed_meanwhile() -> None:
    uncounted = with_record(UNTOLD, usage=Usage(), usage_source="none")

    assert Verdict(replace(uncounted, kills=[101.0])).faults == []
    assert Verdict(replace(uncounted, kills=[99.0, 200.0])).faults != []


def test_what_comes_to_closed_doors_may_be_refused_and_needs_no_record() -> None:
    it = without_record(PLAIN)
    refused = replace(
        it,
        answers=[
            answer(name, seen="refused", status=None, id=None) if name == PLAIN else answer(name) for name in SENT
        ],
        received={name: 1 for name in SENT if name != PLAIN},
        finished={name: told for name, told in it.finished.items() if name != PLAIN},
    )

    assert Verdict(replace(refused, away=[(99.0, 101.0)])).faults == []
    assert Verdict(replace(refused, away=[(50.0, 60.0)])).faults == [f"1 not served: {PLAIN} (refused, None)"]


def test_a_call_may_take_longer_by_as_much_as_its_process_was_stopped() -> None:
    slow = with_answer(PLAIN, seconds=24.0)

    assert Verdict(replace(slow, stalls=[(100.0, 120.0)])).faults == []
    assert Verdict(replace(slow, stalls=[(100.0, 110.0)])).faults == [f"1 late: {PLAIN} (23.8 s)"]


def test_a_caller_who_leaves_need_not_be_counted_with_all_tokens() -> None:
    finished = {**evidence().finished, LEFT: used(LEFT)}

    assert Verdict(replace(evidence(), finished=finished)).faults == []
