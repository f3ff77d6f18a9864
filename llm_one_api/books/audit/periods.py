"""The sums of days and months are what those of their hours come to."""

from __future__ import annotations

from itertools import groupby

from llm_one_api.books.audit.check import Context, Findings
from llm_one_api.books.audit.rollups import difference, sum_of


class PeriodsCheck:
    """Adds hours and days up again and compares every column: also where the records are deleted long ago."""

    name = "periods"
    compares = "sums by days and months = those by hours"
    mends = "makes the sums of these days and months anew from the hours"

    def run(self, context: Context) -> Findings:
        """Compare the days and months that are closed, of the time that is looked at and next to it."""
        findings = Findings()
        closing = context.ledger.closing
        for _, columns in groupby(closing.differences(context.since, context.until), key=sum_of):
            findings.add(difference(list(columns), made_of="hours"))
        findings.compared = closing.count(context.since, context.until)
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Make those anew in which there is a difference: days first."""
        context.ledger.closing.close_anew({each.what["slot"] for each in findings.differences})
