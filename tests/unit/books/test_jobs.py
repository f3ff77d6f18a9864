"""Ticks of a clock that comes twice, too late, or not at all, over a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from llm_one_api.books import jobs
from llm_one_api.books.jobs import Done, Job, Period, day_of, due, periods, tick
from llm_one_api.stores.ledger.jobs import JobRuns
from llm_one_api.stores.ledger.ledger import Ledger

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
DELAY = timedelta(minutes=10)


class Runs(JobRuns):
    """Real ones, at a time that a test sets."""

    time = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def runs(ledger: Ledger) -> Runs:
    return Runs(ledger._engine)


class Working:
    """Writes down the periods that it was run for."""

    def __init__(self, done: Callable[[], Done] = Done) -> None:
        self.days: list[str] = []
        self.done = done

    def __call__(self, period: Period) -> Done:
        self.days.append(period.start.astimezone(SHANGHAI).strftime("%m-%d"))
        return self.done()


def daily(run: Callable[[Period], Done], name: str = "audit", catch_up: timedelta | None = jobs.CATCH_UP) -> Job:
    return Job(name=name, every="day", delay=DELAY, run=run, catch_up=catch_up)


def raising() -> Done:
    raise ValueError("secret")


def test_a_day_is_worked_on_once_however_often_the_clock_strikes(runs: Runs) -> None:
    work = Working()

    worked = [tick(runs, [daily(work)], SHANGHAI) for _ in range(3)]

    assert worked == [1, 0, 0]
    assert work.days == ["11-23"]


def test_a_day_is_due_when_it_was_over_for_a_while(runs: Runs) -> None:
    work = Working()
    midnight = datetime(2026, 11, 24, 16, tzinfo=UTC)
    tick(runs, [daily(work)], SHANGHAI)

    runs.time = midnight + DELAY - timedelta(seconds=1)
    tick(runs, [daily(work)], SHANGHAI)
    before = list(work.days)
    runs.time = midnight + DELAY
    tick(runs, [daily(work)], SHANGHAI)

    assert before == ["11-23"]
    assert work.days == ["11-23", "11-24"]


def test_days_that_were_missed_are_made_up_for_the_oldest_first(runs: Runs) -> None:
    work = Working()
    tick(runs, [daily(work)], SHANGHAI)

    runs.time += timedelta(days=3)
    tick(runs, [daily(work)], SHANGHAI)

    assert work.days == ["11-23", "11-24", "11-25", "11-26"]


def test_a_clock_that_was_away_for_a_month_makes_up_for_a_week(runs: Runs) -> None:
    work = Working()
    tick(runs, [daily(work)], SHANGHAI)

    runs.time += timedelta(days=30)
    tick(runs, [daily(work)], SHANGHAI)

    assert work.days == ["11-23", *[f"12-{day}" for day in range(17, 24)]]


def test_of_some_jobs_only_the_newest_period_matters(runs: Runs) -> None:
    work = Working()
    tick(runs, [daily(work, catch_up=None)], SHANGHAI)

    runs.time += timedelta(days=3)
    tick(runs, [daily(work, catch_up=None)], SHANGHAI)

    assert work.days == ["11-23", "11-26"]


def test_what_a_job_raises_is_told_is_no_other_jobs_trouble_and_is_tried_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RETRY_SECONDS", -1.0)
    failing, fine = Working(raising), Working()

    with capture_logs() as logs:
        for _ in range(jobs.TRIES + 2):
            tick(runs, [daily(failing), daily(fine, "export")], SHANGHAI)

    last = runs.last("audit")
    assert len(failing.days) == jobs.TRIES
    assert fine.days == ["11-23"]
    assert [event["event"] for event in logs] == ["job.failed"] * jobs.TRIES
    assert {event["error"] for event in logs} == {"ValueError"}
    assert last is not None
    assert (last.ok, last.result) == (False, {"error": "ValueError"})


def test_a_failed_job_waits_longer_each_time(runs: Runs) -> None:
    failing = Working(raising)

    with capture_logs() as logs:
        tick(runs, [daily(failing)], SHANGHAI)
        tick(runs, [daily(failing)], SHANGHAI)

    assert failing.days == ["11-23"]
    assert [event["retry_in"] for event in logs] == [jobs.RETRY_SECONDS]


def test_what_always_kills_its_process_is_given_up_aloud(runs: Runs) -> None:
    work = Working()
    for _ in range(jobs.TRIES):
        assert runs.claim("audit", day_of(date(2026, 11, 23), SHANGHAI).start, -1, jobs.TRIES)

    with capture_logs() as logs:
        tick(runs, [daily(work)], SHANGHAI)

    assert work.days == []
    assert [(event["event"], event["tries"]) for event in logs] == [("job.given_up", jobs.TRIES)]


def test_a_job_with_more_to_do_lets_others_have_a_turn_and_goes_on(runs: Runs) -> None:
    order: list[str] = []
    left = [Done(more=True), Done(more=True), Done()]

    def long(_period: Period) -> Done:
        order.append("long")
        return left.pop(0)

    def short(_period: Period) -> Done:
        order.append("short")
        return Done()

    for _ in range(4):
        tick(runs, [daily(long, "long"), daily(short, "short")], SHANGHAI)

    assert order == ["long", "short", "long", "long"]


def test_one_that_comes_back_too_late_is_told_and_changes_nothing(runs: Runs) -> None:
    def slow(period: Period) -> Done:
        with runs._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE job_runs SET lease_until = 1")
        assert runs.claim("audit", period.start, 60, 9)
        return Done(result={"late": True})

    with capture_logs() as logs:
        tick(runs, [daily(slow)], SHANGHAI)

    assert [event["event"] for event in logs] == ["job.overtaken"]
    assert runs.last("audit") is None


def test_a_tick_begins_with_nothing_new_when_its_time_is_over(runs: Runs) -> None:
    work = Working()
    tick(runs, [daily(work)], SHANGHAI)
    runs.time += timedelta(days=3)
    times = iter([0.0, 0.0, jobs.RUN_FOR])

    tick(runs, [daily(work)], SHANGHAI, clock=lambda: next(times))

    assert work.days == ["11-23", "11-24"]


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 29), BERLIN, 23),
        (date(2026, 10, 25), BERLIN, 25),
        (date(2026, 10, 26), BERLIN, 24),
        (date(2026, 4, 24), ZoneInfo("Africa/Cairo"), 23),  # whose midnight of that day does not exist
        (date(2026, 11, 1), ZoneInfo("America/Havana"), 25),  # which has half past midnight twice
    ],
)
def test_a_day_is_as_long_as_it_is_in_its_zone(day: date, zone: ZoneInfo, hours: int) -> None:
    period = day_of(day, zone)
    before, after = (day_of(day + timedelta(days=n), zone) for n in (-1, 1))

    assert period.end - period.start == timedelta(hours=hours)
    assert (before.end, after.start) == (period.start, period.end)


def test_hours_follow_each_other(runs: Runs) -> None:
    found = periods("hour", SHANGHAI, datetime(2026, 11, 24, 4, 59, tzinfo=UTC))

    first, second = next(found), next(found)

    assert first.end == datetime(2026, 11, 24, 4, tzinfo=UTC)
    assert (second.end, second.start) == (first.start, first.start - timedelta(hours=1))


def test_an_hourly_job_is_due_each_hour(runs: Runs) -> None:
    job = Job(name="retention", every="hour", delay=DELAY, run=Working())
    tick(runs, [job], SHANGHAI)

    runs.time += timedelta(hours=2)

    assert [period.end.hour for period in due(runs, job, SHANGHAI)] == [4, 5]
