"""Tells which periodic jobs ought to have been done by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from llm_one_api.books.jobs import Clock, Planned, periods

_GRACE: Mapping[str, timedelta] = {
    "minute": timedelta(minutes=5), "hour": timedelta(minutes=30), "day": timedelta(minutes=30),
}  # fmt: skip
"""How late something may be until it is overdue: of a period, longer than all its tries take."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class LastRun(Protocol):
    """What came of a run that is over with."""

    @property
    def finished_at(self) -> datetime:
        """When that was."""


class History(Protocol):
    """What is known of runs that are over with."""

    def finished(self, job: str, since: datetime) -> set[datetime]:
        """Tell which periods of a job are over with."""

    def last(self, job: str) -> LastRun | None:
        """Tell of the newest."""

    def first_sign(self) -> datetime | None:
        """Tell since when there has been anything to be seen of jobs or calls; None: there is nothing yet."""


class Looked(Clock, History, Protocol):
    """What tells which jobs are overdue."""


def is_overdue(
    history: History,
    job: Planned,
    zone: ZoneInfo,
    now: datetime,
    since: datetime | None = None,
    changed: datetime | None = None,
) -> bool:
    """Tell whether *job* ought to have been done by now, and was not.

    *since* is when there could first be somebody to do it, such as our own start; None: not known. What was never done
    is then late from the first sign of life on, or from when the timetable was *changed*: what is new has nothing to be
    late with.
    """
    grace = _GRACE[job.every]
    last = history.last(job.name)
    if since is None and last is None:
        since = max(history.first_sign() or now, changed or _LONG_AGO)
    if since is not None and now - since <= grace:
        return False
    if job.every == "minute":
        return last is None or now - last.finished_at > grace
    newest = next(periods(job.every, zone, now - job.delay - grace))
    return not history.finished(job.name, newest.start)


def overdue(runs: Looked, planned: Iterable[Planned], zone: ZoneInfo, *, since: datetime | None = None) -> list[str]:
    """Name those of *planned* that ought to have been done by now."""
    now = runs.now()
    return [each.name for each in planned if is_overdue(runs, each, zone, now, since)]
