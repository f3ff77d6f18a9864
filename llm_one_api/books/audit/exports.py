"""What exports say of their days is what the ledger's sums say, and their files are what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.books.jobs import day_of
from llm_one_api.books.reports.export import manifest as manifests
from llm_one_api.books.reports.export.export import BooksDiffer, NotOverwritten, export_day, follows, sums_of
from llm_one_api.books.reports.export.formats import FORMATS
from llm_one_api.books.reports.export.formats import file_name as file_of
from llm_one_api.books.reports.export.formats.format import FormatMissing
from llm_one_api.books.reports.export.manifest import File, Manifest
from llm_one_api.books.reports.export.summary import together
from llm_one_api.books.reports.export.target import Target, TargetError
from llm_one_api.stores.ledger.sums import hour_of

_DAY = timedelta(days=1)
_SOME_DAYS = 32 * _DAY
"""So much is looked at so closely that files far away are read."""


class ExportsCheck:
    """Reads each day's manifest, and asks the sums, which outlive the calls."""

    name = "exports"
    compares = "exports' manifests = sums of their days"
    mends = "exports these days again, where their calls are still there"

    def run(self, context: Context) -> Findings:
        """Compare the days that lie in the time."""
        findings = Findings()
        if context.exports is None:
            findings.elsewhere = "nothing is exported (export.enabled)"
            return findings
        try:
            target = context.exports()
            names = target.names()
            days = [day for name in names if (day := manifests.day_of_name(name)) and _overlaps(day, context)]
            if not days:
                findings.elsewhere = f"there are no exports in {target.where}"
                return findings
            for day in days:
                _look(context, findings, target, names, day)
        except TargetError as error:
            findings.unchecked = str(error)
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Export the days anew in which there is a difference; what cannot be is told by the second look."""
        if context.exports is None:
            return
        days = sorted({date.fromisoformat(each.what["day"]) for each in findings.differences if each.repairable})
        try:
            target = context.exports()
            names = target.names()
            for day in days:
                formats = [name for name in FORMATS if file_of(name, day) in names]
                try:
                    export_day(context.ledger, target, day, context.zone, formats, anew=True)
                except (BooksDiffer, FormatMissing, NotOverwritten):
                    continue
        except TargetError:
            return


def _look(context: Context, findings: Findings, target: Target, names: Sequence[str], day: date) -> None:
    """Compare one day."""
    findings.compared["days"] = findings.compared.get("days", 0) + 1
    deleted_before = context.ledger.audit.deleted_before()
    text = target.read(manifests.file_name(day))
    if text is None:
        return  # it was taken away since
    try:
        manifest = manifests.decode(text)
    except manifests.Unreadable as error:
        what = {"day": str(day), "file": manifests.file_name(day)}
        why = {"it": "no manifest that can be read", "why": str(error)}
        findings.add(Difference(what=what, says=why, repairable=False))
        return
    repairable = deleted_before is None or deleted_before <= manifest.since
    if _can_be_told(context, manifest, deleted_before):
        rows = sums_of(context.ledger.analysis, manifest.since, manifest.until, context.zone)
        sums = together(row.sums for row in rows)
        found = list(manifests.differing(manifest, sums))
        if found:
            says = {
                "export": {name: figure for name, figure, _ in found},
                "sums": {name: figure for name, _, figure in found},
            }
            can = sums.requests >= manifest.sums["requests"] and (
                repairable or follows(manifest, day_of(day, context.zone), sums)
            )
            findings.add(Difference(what={"day": str(day)}, says=says, repairable=can))
    else:
        findings.notes.append(f"{day} begins or ends within an hour of whose quarters no sums are kept: not compared")
    closely = target.is_near or context.until - context.since <= _SOME_DAYS
    for file, says in _wrong(target, names, manifest.files, closely=closely):
        findings.add(Difference(what={"day": str(day), "file": file.name}, says=says, repairable=repairable))
    findings.compared["files"] = findings.compared.get("files", 0) + len(manifest.files)


def _wrong(
    target: Target, names: Sequence[str], files: Sequence[File], *, closely: bool
) -> Iterator[tuple[File, dict[str, Any]]]:
    """Tell which files are not what the manifest says; by their sizes, and *closely* by what is in them."""
    for file in files:
        size = target.size(file.name) if file.name in names else None
        if size is None:
            yield file, {"manifest": f"{file.bytes} bytes", "there": "nothing"}
        elif size != file.bytes:
            yield file, {"manifest": f"{file.bytes} bytes", "there": f"{size} bytes"}
        elif closely and target.sha256(file.name) != file.sha256:
            yield file, {"manifest": f"SHA-256 {file.sha256[:16]}…", "there": "another"}


def _overlaps(day: date, context: Context) -> bool:
    """Tell whether the calls of a day are asked for; in whatever zone it was exported."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=context.zone).astimezone(UTC)
    return context.since <= noon < context.until


def _can_be_told(context: Context, manifest: Manifest, deleted_before: datetime | None) -> bool:
    """Tell whether there are sums of just that time: by hours for good, by quarters or of calls while they are kept."""
    if all(hour_of(edge) == edge for edge in (manifest.since, manifest.until)):
        return True
    has_calls = deleted_before is None or deleted_before <= manifest.since
    return has_calls or context.quarters_since <= hour_of(manifest.since)
