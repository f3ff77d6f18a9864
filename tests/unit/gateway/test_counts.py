"""How counted tokens get into a record, and how fast they were put out."""

from __future__ import annotations

import gevent
import pytest

from llm_one_api.gateway.counts import Counts, Fill, Kind, speed
from llm_one_api.gateway.estimate import Counted
from llm_one_api.values import Permit, Usage, UsageRecord
from tests.harness.records import record


class Journal:
    """One in memory."""

    def __init__(self) -> None:
        self.closed: list[UsageRecord] = []

    def close(self, record: UsageRecord) -> None:
        self.closed.append(record)


class Counting:
    """One whose figures are known, fail to come, or never come."""

    def __init__(self, counted: Counted | Exception | None) -> None:
        self._counted = counted

    def hear(self, text: str) -> None:
        """Know better."""

    def drop(self) -> None:
        """There is nothing to forget."""

    def finish(self) -> Counted:
        if isinstance(self._counted, Exception):
            raise self._counted
        if self._counted is None:
            gevent.sleep(60)
        assert self._counted is not None
        return self._counted


def counted(prompt: int | None, completion: int | None) -> Counted:
    return Counted(prompt_tokens=prompt, completion_tokens=completion)


def usage(prompt: int | None = None, completion: int | None = None, total: int | None = None) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


@pytest.mark.parametrize(
    ("kind", "output", "told", "found", "expected"),
    [
        ("estimated", True, usage(), counted(5, 3), usage(5, 3, 8)),
        ("estimated", True, usage(), counted(None, 3), usage(None, 3)),
        ("estimated", True, usage(), counted(5, None), usage(5)),
        ("estimated", True, usage(), counted(None, None), usage()),
        ("estimated", True, usage(50), counted(5, 3), usage(50, 3, 53)),
        ("estimated", False, usage(), counted(5, 0), usage(5, None, 5)),
        ("partial", True, usage(25, 1, 26), counted(24, 40), usage(25, 40, 65)),
        ("partial", True, usage(25, 41, 66), counted(24, 40), usage(25, 41, 66)),
        ("partial", True, usage(), counted(5, 0), usage(5, 0, 5)),
    ],
)
def test_what_was_told_stays_and_what_was_not_is_filled_in(
    kind: Kind, output: bool, told: Usage, found: Counted, expected: Usage
) -> None:
    assert Fill(kind=kind, output=output).into(told, found) == expected


def ended(counting: Counting) -> list[UsageRecord]:
    journal, counts = Journal(), Counts()
    counts.later(journal, record(usage=usage(), usage_source="none"), counting, Fill(kind="estimated"), Permit())

    counts.settle(0.05)

    return journal.closed


def test_a_record_is_closed_with_the_figures_as_soon_as_they_are_there() -> None:
    [closed] = ended(Counting(counted(5, 3)))

    assert (closed.usage, closed.usage_source) == (usage(5, 3, 8), "estimated")
    assert closed.output_tokens_per_second == 1.2  # 3 in 2.5 s


@pytest.mark.parametrize("failing", [counted(None, None), RuntimeError("a prompt")])
def test_a_record_whose_tokens_cannot_be_counted_is_closed_as_it_was(failing: Counted | Exception) -> None:
    [closed] = ended(Counting(failing))

    assert (closed.usage, closed.usage_source) == (usage(), "none")


def test_a_process_that_stops_does_not_wait_for_ever_and_leaves_the_rest_to_the_relay() -> None:
    assert ended(Counting(None)) == []


@pytest.mark.parametrize(
    ("duration", "ttft", "stream", "expected"),
    [(2.5, 0.5, True, 50.0), (2.5, 0.5, False, 40.0), (2.5, None, True, 40.0), (2.5, 2.499, True, 40.0),
     (None, None, True, None), (0.0, 0.0, True, None)],
)  # fmt: skip
def test_the_speed_is_that_of_the_output(
    duration: float | None, ttft: float | None, stream: bool, expected: float | None
) -> None:
    assert speed(usage(1, 100), duration, ttft, stream=stream) == expected
    assert speed(usage(1), duration, ttft, stream=stream) is None
