"""Periodic jobs: each period of each once, however often the clock strikes, and though it strike not at all for days.

What calls `tick` is a hint. A period is due when it has been over for the job's delay; whoever makes its row in the
ledger does its work, and whose process dies in the middle is followed by another when its lease runs out.

What is done each minute has no periods: it may be done by several at a time, and only its last run is kept (`noted`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.values import Value

log = structlog.get_logger()

HOUR = timedelta(hours=1)
LEASE = 900.0
"""Seconds; more than any task may take (`broker.py`), so a job that runs is never taken up a second time."""
TRIES = 5
RETRY_SECONDS = 60.0
"""Seconds until a job that failed is tried again; twice as long each time."""
RUN_FOR = 60.0
"""Seconds after which a tick begins with no other job: there is a next tick, and others want the process too."""
CATCH_UP = timedelta(days=7)
"""How far back missed periods are made up for."""


class Period(Value, frozen=True, kw_only=True):
    """An hour, or a day in the configured time zone, which may have 23 or 25 hours."""

    start: datetime
    end: datetime


class Done(Value, frozen=True, kw_only=True):
    """What came of a job."""

    ok: bool = True
    result: Mapping[str, Any] = {}
    """What is kept of it, for who asks later."""
    more: bool = False
    """There is more to do: let others have a turn, then go on."""
    idle: bool = False
    """Nothing was done, for somebody else has just done it, or is at it."""


class Planned(Value, frozen=True, kw_only=True):
    """When something is to be done."""

    name: str
    every: Literal["minute", "hour", "day"]
    delay: timedelta = timedelta()
    """How long after the end of a period it is due."""
    catch_up: timedelta | None = CATCH_UP
    """How far back missed periods are made up for; None: only the newest matters."""


class Job(Planned, frozen=True, kw_only=True):
    """Something to be done once a period."""

    run: Callable[[Period], Done]
    """May be called again for the same period: after a failure, or a death in the middle."""


class Run(Protocol):
    """The right to work on one period."""

    @property
    def tries(self) -> int:
        """Which try this is."""


R = TypeVar("R", bound=Run)


class Clock(Protocol):
    """What tells the time that all processes share."""

    def now(self) -> datetime:
        """Tell it."""


class Notes(Clock, Protocol):
    """Where it is kept what came of something that is done again and again."""

    def note(
        self, job: str, period: datetime, *, started_at: datetime, took: float, ok: bool, result: Mapping[str, Any]
    ) -> None:
        """Keep what came of it."""


class Runs(Clock, Protocol[R]):
    """What jobs need of the ledger."""

    def begun(self, job: str) -> datetime | None:
        """Tell the first period of a job that anybody took; None: it never ran."""

    def finished(self, job: str, since: datetime) -> set[datetime]:
        """Tell which periods of a job are over with."""

    def claim(self, job: str, period: datetime, seconds: float, most: int) -> R | None:
        """Take a period; None: it is not to be had."""

    def finish(self, run: R, *, ok: bool, result: Mapping[str, Any], took: float) -> bool:
        """Be done with it, after *took* seconds."""

    def put_off(self, run: R, seconds: float, took: float) -> bool:
        """Let nobody take it up for a while."""

    def go_on(self, run: R, took: float) -> bool:
        """Give it back, with more to do."""

    def give_up(self, most: int) -> Sequence[Any]:
        """Be done with those that were tried so often."""


def tick(
    runs: Runs[R],
    jobs: Sequence[Job],
    zone: ZoneInfo,
    *,
    tell: Callable[[Exception], str] = lambda error: type(error).__name__,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Do what is due of *jobs*, the oldest periods first; tell how many periods were worked on.

    What a job raises is told with the words of *tell*, and is tried again; it is no other job's trouble. Raises what
    the ledger raises. Call it as often as you like, in as many processes at a time.
    """
    for run in runs.give_up(TRIES):
        log.error("job.given_up", job=run.job, period=run.period.isoformat(), tries=run.tries)
    end = clock() + RUN_FOR
    worked = 0
    for job in jobs:
        for period in due(runs, job, zone):
            if clock() >= end:
                return worked
            worked += work(runs, job, period, tell) is not None
    return worked


def due(runs: Runs[R], job: Planned, zone: ZoneInfo) -> list[Period]:
    """Tell which periods of *job* are over and not done with, the oldest first. A new job begins with the newest."""
    now = runs.now()
    begun = runs.begun(job.name)
    found = periods(job.every, zone, now - job.delay)
    wanted = [next(found)]
    if job.catch_up is not None and begun is not None:
        since = now - job.catch_up
        wanted += takewhile(lambda period: period.start >= begun and period.end > since, found)
    finished = runs.finished(job.name, wanted[-1].start)
    return [period for period in reversed(wanted) if period.start not in finished]


def noted(
    notes: Notes,
    name: str,
    run: Callable[[], Done],
    tell: Callable[[Exception], str] = lambda error: type(error).__name__,
) -> Done:
    """Do what is done each minute, and keep what came of it, unless nothing was done; what it raises is raised."""
    started, began = notes.now(), time.monotonic()
    hour = started.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    done = Done(ok=False)
    try:
        done = run()
    except Exception as error:
        done = Done(ok=False, result={"error": tell(error)})
        raise
    finally:
        if not done.idle:
            took = time.monotonic() - began
            notes.note(name, hour, started_at=started, took=took, ok=done.ok, result=done.result)
    return done


def periods(every: Literal["minute", "hour", "day"], zone: ZoneInfo, at: datetime) -> Iterator[Period]:
    """Give the periods that are over at *at*, the newest first, without end."""
    if every == "hour":
        end = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        while True:
            yield Period(start=end - HOUR, end=end)
            end -= HOUR
    day = at.astimezone(zone).date()
    while True:
        day -= timedelta(days=1)
        yield day_of(day, zone)


def day_of(day: date, zone: ZoneInfo) -> Period:
    """Give *day* in *zone*, from midnight to midnight."""
    return Period(start=_midnight(day, zone), end=_midnight(day + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def by_hand(runs: Runs[R], job: Job, period: Period, tell: Callable[[Exception], str]) -> Done | None:
    """Do all the work of one period; None: it is not to be had, for it is done, or somebody is at it."""
    done = work(runs, job, period, tell)
    while done is not None and done.more:
        done = work(runs, job, period, tell)
    return done


def period_named(every: Literal["minute", "hour", "day"], zone: ZoneInfo, text: str | None, now: datetime) -> Period:
    """Give the day or the hour that *text* names, in *zone*; None: the newest that is over. Raises ValueError."""
    if text is None:
        return next(periods(every, zone, now))
    if every == "day":
        found = day_of(date.fromisoformat(text), zone)
    else:
        at = datetime.fromisoformat(text)
        whole = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        start = whole.replace(minute=0, second=0, microsecond=0)
        found = Period(start=start, end=start + HOUR)
    if found.end > now:
        raise ValueError(f"{text} is not over yet")
    return found


def work(runs: Runs[R], job: Job, period: Period, tell: Callable[[Exception], str]) -> Done | None:
    """Do the work of one period; None: it is not to be had. What it raises is told, and told in the result."""
    run = runs.claim(job.name, period.start, LEASE, TRIES)
    if run is None:
        return None
    began = time.monotonic()
    try:
        done = job.run(period)
    except Exception as error:
        _failed(runs, run, job, period, tell(error), time.monotonic() - began)
        return Done(ok=False, result={"error": tell(error)})
    took = time.monotonic() - began
    kept = runs.go_on(run, took) if done.more else runs.finish(run, ok=done.ok, result=done.result, took=took)
    if not kept:
        log.warning("job.overtaken", job=job.name, period=period.start.isoformat())
    return done


def _failed(runs: Runs[R], run: R, job: Job, period: Period, why: str, took: float) -> None:
    named = {"job": job.name, "period": period.start.isoformat(), "error": why, "tries": run.tries}
    if run.tries >= TRIES:
        log.error("job.failed", **named, retry_in=None)
        runs.finish(run, ok=False, result={"error": why}, took=took)
        return
    retry_in = RETRY_SECONDS * 2 ** (run.tries - 1)
    log.error("job.failed", **named, retry_in=retry_in)
    runs.put_off(run, retry_in, took)
