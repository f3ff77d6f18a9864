"""Exports one day: reads its calls, sees that they come to what the sums say, and puts the files in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.books.jobs import Period, day_of
from llm_one_api.books.reports.export import manifest as manifests
from llm_one_api.books.reports.export import summary
from llm_one_api.books.reports.export.formats import FORMATS
from llm_one_api.books.reports.export.formats import file_name as file_of
from llm_one_api.books.reports.export.manifest import File, Manifest
from llm_one_api.books.reports.export.staging import Counted, Staged
from llm_one_api.books.reports.export.target import Target, stale
from llm_one_api.stores.ledger.analysis import Analysis, Question, Row, Sums
from llm_one_api.stores.ledger.audit import AuditReads
from llm_one_api.stores.ledger.days import DayReads, Tally
from llm_one_api.stores.ledger.sums import hour_of
from llm_one_api.values import Value

log = structlog.get_logger()

TRIES = 3
"""How often a day is read in one go, where late calls come in at the same time."""
SUMMARY = "summary"


class Ledger(Protocol):
    """What an export reads."""

    @property
    def analysis(self) -> Analysis:
        """The sums."""

    @property
    def days(self) -> DayReads:
        """The calls."""

    @property
    def audit(self) -> AuditReads:
        """What retention has deleted."""


class BooksDiffer(Exception):
    """The calls of a day do not come to what its sums say: late ones come in all the time, or the books are wrong."""


class NotOverwritten(Exception):
    """What is there may be worth more than what would be written: the files stay, until somebody says otherwise."""


class Exported(Value, frozen=True, kw_only=True):
    """What became of a day."""

    day: date
    state: Literal["written", "unchanged", "kept"]
    """`kept`: calls of that day are deleted by now, so its files stay as they are."""
    manifest: Manifest
    written: tuple[str, ...]
    """The files that were not there, or were others."""
    without: tuple[str, ...] = ()
    """The formats that were asked for and cannot be written any more, because the calls are deleted."""


def export_day(
    ledger: Ledger,
    target: Target,
    day: date,
    zone: ZoneInfo,
    formats: Iterable[str],
    *,
    anew: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _calls: None,
) -> Exported:
    """Write the files of *day*: the summary, its calls in *formats* and in those it had before, and the manifest.

    Files that are right already are left alone, so that to do it twice changes nothing; with *anew* they are written
    whatever is there. Each appears whole, the manifest last. *progress* is told how many calls were read, again and
    again. Raises NotOverwritten where the manifest cannot be read or has more calls than the ledger, unless told to
    *overwrite* them; TargetError, FormatMissing, BooksDiffer and what the ledger raises; the files are then those
    from before, but for some that may be new already.
    """
    period = day_of(day, zone)
    wanted: list[str] = []
    for _ in range(TRIES):
        before = _before(ledger, target, day, zone, overwrite=overwrite)
        had = before.formats if before else _formats_there(target, day)
        wanted = [name for name in FORMATS if name in {*formats, *had}]
        if _are_deleted(ledger, period):
            return _without_calls(ledger, target, day, period, zone, wanted, before)
        with ExitStack() as drafts:
            found = _read(ledger, target, drafts, day, period, zone, wanted, progress)
            if found is not None and not _are_deleted(ledger, period):
                staged, rows, sums = found
                done = _put(target, drafts, day, period, zone, staged, rows, sums, before, anew=anew)
                # Another may have put older files between ours; who puts the manifest last always sees it here.
                if not done.written or all(target.has(file, file) for file in done.manifest.files):
                    return done
    raise BooksDiffer(f"the calls of {day} are not what its sums say; see: llm-one-api verify --day {day}")


def told(target: Target, day: date) -> Manifest | None:
    """Read what the export of *day* says of itself; None: there is none. Raises Unreadable."""
    text = target.read(manifests.file_name(day))
    return None if text is None else manifests.decode(text)


def _before(ledger: Ledger, target: Target, day: date, zone: ZoneInfo, *, overwrite: bool) -> Manifest | None:
    """Read the manifest that would be overwritten. Raises NotOverwritten if it had better not be.

    Calls of a day never get fewer but by retention, which is looked at elsewhere: a ledger that has fewer than were
    exported is a new one, or an old backup.
    """
    by_hand = f"to overwrite it: llm-one-api export --day {day} --overwrite"
    try:
        before = told(target, day)
    except manifests.Unreadable as error:
        if overwrite:
            return None
        name = manifests.file_name(day)
        raise NotOverwritten(f"{name} is damaged, or a newer version wrote it ({error}); {by_hand}") from None
    if before is not None and not overwrite and not _are_deleted(ledger, Period(start=before.since, end=before.until)):
        rows = sums_of(ledger.analysis, before.since, before.until, zone)
        now, then = sum(row.sums.requests for row in rows), before.sums["requests"]
        if now < then:
            raise NotOverwritten(f"the export of {day} has {then} calls, the ledger only {now}; {by_hand}")
    return before


def _formats_there(target: Target, day: date) -> list[str]:
    names = set(target.names())
    return [name for name in FORMATS if file_of(name, day) in names]


def sums_of(analysis: Analysis, since: datetime, until: datetime, zone: ZoneInfo) -> list[Row]:
    """Ask what the sums say of a stretch of time, by model and user."""
    question = Question(
        since=since, until=until, zone=zone, group_by=("model", "user"), exact=True, percentiles=False
    )  # fmt: skip
    return analysis.ask(question)


def _read(
    ledger: Ledger,
    target: Target,
    drafts: ExitStack,
    day: date,
    period: Period,
    zone: ZoneInfo,
    formats: Sequence[str],
    progress: Callable[[int], None],
) -> tuple[list[Staged], list[Row], Sums] | None:
    """Write the calls in all formats at once; None: they do not come to what the sums say afterwards."""
    tally = Tally()
    sinks = [Counted(target, drafts) for _ in formats]
    writers = [FORMATS[name].open(sink, zone) for name, sink in zip(formats, sinks, strict=True)]
    calls = 0
    for page in ledger.days.pages(period.start, period.end, tally):
        for writer in writers:
            writer.add(page)
        calls += len(page)
        progress(calls)
    staged = []
    for name, writer, sink in zip(formats, writers, sinks, strict=True):
        writer.end()
        staged.append(sink.staged(file_of(name, day), name, writer.rows))
    rows = sums_of(ledger.analysis, period.start, period.end, zone)
    sums = tally.sums()
    return (staged, rows, sums) if summary.together(row.sums for row in rows) == sums else None


def _put(
    target: Target,
    drafts: ExitStack,
    day: date,
    period: Period,
    zone: ZoneInfo,
    calls: Sequence[Staged],
    rows: Sequence[Row],
    sums: Sums,
    before: Manifest | None,
    *,
    anew: bool = False,
    kept: Sequence[File] = (),
) -> Exported:
    """Give those files their names that are not there yet as they should be; *kept* stay as they are."""
    sink = Counted(target, drafts)
    sink.write(summary.encode(day, period, zone, rows))
    staged = [sink.staged(summary.file_name(day), SUMMARY, sums.requests), *calls]
    manifest = Manifest(
        day=day,
        timezone=zone.key,
        since=period.start,
        until=period.end,
        sums=manifests.of_sums(sums),
        files=(staged[0].file, *kept, *(each.file for each in calls)),
    )
    sink = Counted(target, drafts)
    sink.write(manifest.encode())
    last = sink.staged(manifests.file_name(day), "manifest", 0)
    old = {file.name: file for file in before.files} if before else {}
    written = [each for each in staged if anew or not target.has(each.file, old.get(each.file.name))]
    if written or target.read(last.file.name) != manifest.encode():
        written.append(last)
    for each in written:
        each.draft.put(each.file.name)
    _sweep(target)
    names = tuple(each.file.name for each in written)
    if names:
        log.info("export.done", day=str(day), to=target.where, requests=sums.requests, files=list(names))
    return Exported(day=day, state="written" if names else "unchanged", manifest=manifest, written=names)


def _without_calls(
    ledger: Ledger,
    target: Target,
    day: date,
    period: Period,
    zone: ZoneInfo,
    wanted: Sequence[str],
    before: Manifest | None,
) -> Exported:
    """Keep the calls' files of a day whose calls are deleted; the sums still make a summary.

    Where there is one, it follows late calls and prices, which the sums of a day that is deleted in part take in.
    """
    rows = sums_of(ledger.analysis, period.start, period.end, zone)
    sums = summary.together(row.sums for row in rows)
    if before is not None and not follows(before, period, sums):
        without = tuple(name for name in wanted if name not in before.formats)
        return Exported(day=day, state="kept", manifest=before, written=(), without=without)
    if before is None and (there := _formats_there(target, day)):
        names = ", ".join(file_of(name, day) for name in there)
        raise NotOverwritten(f"the calls of {day} are deleted, and {names} of it have no manifest; put it back")
    kept = tuple(file for file in before.files if file.format != SUMMARY) if before else ()
    with ExitStack() as drafts:
        done = _put(target, drafts, day, period, zone, (), rows, sums, before, kept=kept)
    without = tuple(name for name in wanted if name not in done.manifest.formats)
    return Exported(day=day, state=done.state, manifest=done.manifest, written=done.written, without=without)


def follows(before: Manifest, period: Period, sums: Sums) -> bool:
    """Tell whether *sums* are what a manifest says, and late calls, or other prices; nothing else is taken over.

    Only for days of whole hours, whose sums stay for good.
    """
    edges = (period.start, period.end)
    if (before.since, before.until) != edges or any(hour_of(edge) != edge for edge in edges):
        return False
    other = {name for name, _, _ in manifests.differing(before, sums)}
    return sums.requests > before.sums["requests"] or (bool(other) and other <= {"priced", "unpriced", "cost"})


def _are_deleted(ledger: Ledger, period: Period) -> bool:
    """Tell whether retention may have deleted calls of the day."""
    deleted_before = ledger.audit.deleted_before()
    return deleted_before is not None and deleted_before > period.start


def _sweep(target: Target) -> None:
    """Take away what exports left behind that were killed."""
    for name in stale(target.names(), time.time()):
        target.remove(name)
