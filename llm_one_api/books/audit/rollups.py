"""The sums are what their records come to."""

from __future__ import annotations

from datetime import UTC

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.stores.ledger.sums import HOUR, hour_of


class RollupsCheck:
    """Adds the records up again, hour by hour, and compares every column of every sum."""

    name = "rollups"
    compares = "sums by quarters and hours = records"
    mends = "makes the sums of these hours anew from their records"

    def run(self, context: Context) -> Findings:
        """Compare the hours whose records are all there."""
        findings = Findings()
        audit = context.ledger.audit
        since = hour_of(context.since)
        deleted_before = audit.deleted_before()
        if deleted_before is not None and deleted_before > since:
            since = min(deleted_before, context.until)
            until = deleted_before.astimezone(UTC).isoformat(timespec="minutes")
            findings.notes.append(f"records before {until} are deleted: the sums of that time stand for themselves")
        for each in context.ledger.rollups.differences(since, context.until):
            findings.add(
                Difference(
                    what={"table": each.table, "slot": each.slot, **each.dimensions, "column": each.column},
                    says={"records": each.records, "sums": each.sums},
                    repairable=True,
                )
            )
        findings.compared = dict(zip(("records", "sums"), audit.count(since, context.until), strict=True))
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Make the hours anew in which there is a difference."""
        for hour in sorted({hour_of(each.what["slot"]) for each in findings.differences}):
            context.ledger.rollups.rebuild(hour, hour + HOUR)
