"""Which days want an export, and the periodic jobs that see to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.books.jobs import Done, Period, day_of
from llm_one_api.books.reports.export.export import BooksDiffer, Exported, Ledger, NotOverwritten, export_day, told
from llm_one_api.books.reports.export.formats.format import FormatMissing
from llm_one_api.books.reports.export.manifest import Manifest, Unreadable, differing
from llm_one_api.books.reports.export.target import Target
from llm_one_api.stores.ledger.analysis import Question, Sums
from llm_one_api.values import Value

log = structlog.get_logger()

RUN_FOR = 60.0
"""Seconds after which no further day is begun in the same turn: others want the process too."""


class Wish(Value, frozen=True, kw_only=True):
    """What is exported, and where to."""

    target: Target
    zone: ZoneInfo
    formats: tuple[str, ...]
    look_back: int
    """How many days back late calls and missed days are looked for."""


def export_period(ledger: Ledger, wish: Wish, period: Period) -> Done:
    """Do the job of a day: export it. Raises what `export_day` raises, but for NotOverwritten: that would stay so."""
    day = period.start.astimezone(wish.zone).date()
    try:
        return Done(result=_result([export_day(ledger, wish.target, day, wish.zone, wish.formats)]))
    except NotOverwritten as error:
        log.error("export.not_overwritten", day=str(day), error=str(error))
        return Done(ok=False, result={"days": [], "left": [str(day)]})


def export_late(
    ledger: Ledger, wish: Wish, now: datetime, *, clock: Callable[[], float] = time.monotonic
) -> Done:  # fmt: skip
    """Export the days before *now* that want it: late calls came in, a price was given, an export was missed or lost.

    A day that cannot be is told and left for the next time: others can. Raises TargetError and what the ledger raises.
    """
    end = clock() + RUN_FOR
    done: list[Exported] = []
    differ: list[str] = []
    left: list[str] = []
    for day in wanted(ledger, wish, now):
        if done and clock() >= end:
            return Done(result=_result(done), more=True)
        try:
            done.append(export_day(ledger, wish.target, day, wish.zone, wish.formats))
        except BooksDiffer:
            log.warning("export.books_differ", day=str(day), see=f"llm-one-api verify --day {day}")
            differ.append(str(day))
        except NotOverwritten as error:
            log.error("export.not_overwritten", day=str(day), error=str(error))
            left.append(str(day))
        except FormatMissing as error:
            log.error("export.format_missing", day=str(day), error=str(error))
            left.append(str(day))
    return Done(ok=not differ and not left, result={**_result(done), "differ": differ, "left": left})


def wanted(ledger: Ledger, wish: Wish, now: datetime) -> Iterator[date]:
    """Tell which of the days that are over at *now* have no export, or not the one that they should have.

    A day without calls that was never exported is none of them; one whose manifest cannot be read is, to be told.
    """
    today = now.astimezone(wish.zone).date()
    first = today - timedelta(days=wish.look_back)
    sums = _by_day(ledger, wish.zone, first, today)
    names = set(wish.target.names())
    for number in range(wish.look_back):
        day = first + timedelta(days=number)
        try:
            manifest = told(wish.target, day)
        except Unreadable:
            yield day
            continue
        period = day_of(day, wish.zone)
        if manifest is None:
            if day in sums:
                yield day
        elif not is_current(manifest, period, sums.get(day, Sums()), wish.formats) or not is_there(
            manifest, wish.target, names
        ):
            deleted_before = ledger.audit.deleted_before()
            if deleted_before is None or deleted_before <= period.start:  # else it stays as it is
                yield day


def is_current(manifest: Manifest, period: Period, sums: Sums, formats: Collection[str]) -> bool:
    """Tell whether an export says what the sums say, of the same day, in all *formats*."""
    return (
        (manifest.since, manifest.until) == (period.start, period.end)
        and set(formats) <= set(manifest.formats)
        and not any(differing(manifest, sums))
    )


def is_there(manifest: Manifest, target: Target, names: Collection[str]) -> bool:
    """Tell whether its files are there, by their sizes; *names* are the files of the target."""
    return all(file.name in names and target.size(file.name) == file.bytes for file in manifest.files)


def _by_day(ledger: Ledger, zone: ZoneInfo, first: date, last: date) -> Mapping[date, Sums]:
    question = Question(
        since=day_of(first, zone).start, until=day_of(last, zone).start, zone=zone, bucket="day", exact=True,
        percentiles=False,
    )  # fmt: skip
    return {row.bucket.date(): row.sums for row in ledger.analysis.ask(question) if row.bucket is not None}


def _result(done: Collection[Exported]) -> dict[str, object]:
    """Tell what is kept of it."""
    return {
        "days": [
            {"day": str(each.day), "state": each.state, "requests": each.manifest.sums["requests"],
             "written": list(each.written)}
            for each in done
        ]
    }  # fmt: skip
