"""Which jobs ought to have been done by now, and doing one by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.books.jobs import Done, Job, Period, Planned, by_hand, day_of, noted, period_named, tick
from llm_one_api.books.overdue import overdue
from llm_one_api.stores.ledger.jobs import JobRuns
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import record

SHANGHAI = ZoneInfo("Asia/Shanghai")
MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2026, 11, 23, 16, tzinfo=UTC)
"""In Shanghai, of the 24th."""
AUDIT = Planned(name="audit", every="day", delay=10 * MINUTE)
ALERTS = Planned(name="alerts", every="minute")


class Runs(JobRuns):
    """Real ones, at a time that a test sets."""

    time = MIDNIGHT

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def runs(ledger: Ledger) -> Runs:
    return Runs(ledger._engine)


def job(run: Any = lambda _period: Done(result={"n": 1})) -> Job:
    return Job(name="audit", every="day", delay=10 * MINUTE, run=run)


def names(runs: Runs, at: datetime, since: datetime | None = None) -> list[str]:
    runs.time = at
    return overdue(runs, [AUDIT, ALERTS], SHANGHAI, since=since)


def test_a_day_is_overdue_half_an_hour_after_it_was_due_until_it_is_done(runs: Runs) -> None:
    runs.time = MIDNIGHT + 10 * MINUTE
    tick(runs, [job()], SHANGHAI)  # the day before

    early = overdue(runs, [AUDIT], SHANGHAI)
    runs.time = MIDNIGHT + timedelta(days=1) + 39 * MINUTE
    in_time = overdue(runs, [AUDIT], SHANGHAI)
    runs.time += 2 * MINUTE
    late = overdue(runs, [AUDIT], SHANGHAI)
    tick(runs, [job()], SHANGHAI)

    assert (early, in_time, late) == ([], [], ["audit"])
    assert overdue(runs, [AUDIT], SHANGHAI) == []


def test_what_is_done_each_minute_is_overdue_after_five(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(runs, "alerts", Done)
    at = datetime.now(UTC)

    assert overdue(runs, [ALERTS], SHANGHAI) == []
    runs.time = at + 6 * MINUTE
    assert overdue(runs, [ALERTS], SHANGHAI) == ["alerts"]


def test_nothing_is_overdue_where_nobody_could_have_done_it_yet(runs: Runs) -> None:
    began = MIDNIGHT + timedelta(days=3)

    assert names(runs, began + 4 * MINUTE, began) == []
    assert names(runs, began + 6 * MINUTE, began) == ["alerts"]
    assert names(runs, began + 31 * MINUTE, began) == ["audit", "alerts"]


def test_where_nobody_knows_since_when_it_is_the_first_call_or_job_that_tells(runs: Runs, ledger: Ledger) -> None:
    first = MIDNIGHT + 3 * MINUTE
    new = names(runs, MIDNIGHT + timedelta(days=3))
    ledger.ingest([record(1, at=first)])

    assert new == []
    assert names(runs, first + 4 * MINUTE) == []
    assert names(runs, first + 6 * MINUTE) == ["alerts"]
    assert names(runs, first + 31 * MINUTE) == ["audit", "alerts"]
    noted(runs, "alerts", Done)
    assert names(runs, first + 31 * MINUTE) == ["audit"]


def test_what_is_done_again_and_again_keeps_its_last_run_of_the_hour(runs: Runs) -> None:
    noted(runs, "alerts", lambda: Done(result={"n": 1}))
    runs.time += 10 * MINUTE
    with pytest.raises(ConnectionError):
        noted(runs, "alerts", _raising)

    last = runs.last("alerts")

    assert last is not None
    assert (last.period, last.started_at) == (MIDNIGHT, MIDNIGHT + 10 * MINUTE)
    assert (last.ok, last.result) == (False, {"error": "ConnectionError"})
    assert last.seconds is not None


def test_where_somebody_else_did_it_nothing_is_noted(runs: Runs) -> None:
    noted(runs, "alerts", lambda: Done(idle=True))

    assert runs.last("alerts") is None


def _raising() -> Done:
    raise ConnectionError("s3cret")


def test_by_hand_a_period_is_done_once_and_to_its_end(runs: Runs) -> None:
    left = [Done(more=True), Done(more=True), Done(result={"n": 3})]
    period = day_of(MIDNIGHT.date(), SHANGHAI)

    first = by_hand(runs, job(lambda _period: left.pop(0)), period, str)
    second = by_hand(runs, job(), period, str)

    assert first == Done(result={"n": 3})
    assert second is None
    runs.reopen("audit", period.start)
    assert by_hand(runs, job(), period, str) == Done(result={"n": 1})


def test_by_hand_a_failure_is_told_in_the_words_that_hide_secrets_and_counts_as_a_try(runs: Runs) -> None:
    def failing(_period: Period) -> Done:
        raise ValueError("s3cret")

    done = by_hand(runs, job(failing), day_of(MIDNIGHT.date(), SHANGHAI), lambda error: type(error).__name__)

    assert done == Done(ok=False, result={"error": "ValueError"})
    assert runs.last("audit") is None


@pytest.mark.parametrize(
    ("every", "text", "start", "end"),
    [
        ("day", "2026-11-22", datetime(2026, 11, 21, 16, tzinfo=UTC), datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("day", None, datetime(2026, 11, 22, 16, tzinfo=UTC), MIDNIGHT),
        ("hour", "2026-11-23T08", datetime(2026, 11, 23, 0, tzinfo=UTC), datetime(2026, 11, 23, 1, tzinfo=UTC)),
        (
            "hour",
            "2026-11-23T08:30+00:00",
            datetime(2026, 11, 23, 8, tzinfo=UTC),
            datetime(2026, 11, 23, 9, tzinfo=UTC),
        ),
        ("hour", None, datetime(2026, 11, 23, 15, tzinfo=UTC), MIDNIGHT),
    ],
)
def test_a_period_is_named_in_the_zone(every: Any, text: str | None, start: datetime, end: datetime) -> None:
    found = period_named(every, SHANGHAI, text, MIDNIGHT)

    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize("text", ["2026-11-24", "2026-13-01", "yesterday", "2026-11"])
def test_what_is_no_day_or_not_over_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        period_named("day", SHANGHAI, text, MIDNIGHT + timedelta(hours=3))
