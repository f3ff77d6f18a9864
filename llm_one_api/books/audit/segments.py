"""Every call that stands in this machine's journal has its record in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.books.audit.journal import BATCH, Call, Walk
from llm_one_api.books.ingest import ingest
from llm_one_api.stores.journal.lock import relay_is_running
from llm_one_api.values import Value

PATIENCE = 600.0
"""Seconds for which a segment may wait though no relay runs: a gateway starts one every few seconds."""


class Missing(Value, frozen=True, kw_only=True):
    """A call that the ledger does not know."""

    call: Call
    waits: bool
    """Its segment is not acked yet, and there is somebody to send it, or there will be: that is in order."""


class SegmentsCheck:
    """Reads the journal as the relay does, from its oldest acked segment on, and asks the ledger for each call."""

    name = "segments"
    compares = "calls in this machine's journal = records"
    mends = "puts these calls into the ledger, from the journal"

    def run(self, context: Context) -> Findings:
        """Read all segments that are there; those of the last day are kept when all is in the ledger."""
        folder = context.journal
        if folder is None or not folder.is_dir():
            return Findings(elsewhere="no journal on this machine: run it where a gateway runs")
        findings = Findings()
        try:
            self._run(context, Walk(folder, context.since, context.until), findings)
        except OSError as error:
            findings.unchecked = f"the journal cannot be read: {error.strerror or error}"
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Do what the relay and the ingest worker would do. A call that comes again later is known then."""
        if not findings.repairable or context.journal is None:
            return
        walk = Walk(context.journal, context.since, context.until)
        lines = (each.call.line(context.price) for each in _missing(context, walk) if not each.waits)
        while batch := _next(lines, BATCH):
            ingest(context.ledger, batch, lambda: None)

    def _run(self, context: Context, walk: Walk, findings: Findings) -> None:
        waiting, oldest = 0, context.now
        for each in _missing(context, walk):
            call = each.call
            if each.waits:
                waiting, oldest = waiting + 1, min(oldest, call.at)
            else:
                findings.add(
                    Difference(
                        what={"request_id": call.request_id, "segment": str(call.segment)},
                        says={"journal": call.says, "ledger": "nothing"},
                        repairable=True,
                    )
                )
        for name, says in walk.faults:
            findings.add(
                Difference(what={"segment": str(name)}, says={"journal": says, "ledger": "unknown"}, repairable=False)
            )
        findings.compared = {"calls": walk.calls, "segments": walk.segments}
        if waiting:
            minutes = int((context.now - oldest).total_seconds() // 60)
            findings.notes.append(f"{waiting} calls wait in the journal, the oldest for {minutes} min")
        if walk.lost:
            findings.notes.append(f"{walk.lost} records were lost while the journal was full")


def _missing(context: Context, walk: Walk) -> Iterator[Missing]:
    """Give the calls of the journal that the ledger does not know, but for those that it may have deleted."""
    audit = context.ledger.audit
    deleted_before = audit.deleted_before() or datetime.min.replace(tzinfo=UTC)
    cared_for = relay_is_running(walk.folder)
    for batch in walk.batches():
        known = audit.known(call.request_id for call in batch)
        for call in batch:
            if call.request_id not in known and call.at >= deleted_before:
                young = (context.now.timestamp() - call.written) < PATIENCE
                yield Missing(call=call, waits=not call.acked and (cared_for or young))


def _next(lines: Iterator[str], most: int) -> list[str]:
    return [line for _, line in zip(range(most), lines, strict=False)]
