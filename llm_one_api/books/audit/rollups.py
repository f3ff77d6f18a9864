"""The sums are what their records come to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from itertools import groupby
from typing import Any

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.stores.ledger import comparing
from llm_one_api.stores.ledger.sums import HOUR, hour_of

_MARGIN = 3 * HOUR
"""Of the quarters that are kept, the oldest: retention may delete them while an audit is on its way to them."""


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
        quarters_since = context.quarters_since + _MARGIN
        found = context.ledger.rollups.differences(since, context.until, quarters_since=quarters_since)
        for _, columns in groupby(found, key=sum_of):
            findings.add(difference(list(columns)))
        findings.compared = dict(zip(("records", "sums"), audit.count(since, context.until), strict=True))
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Make the hours anew in which there is a difference."""
        for hour in sorted({hour_of(each.what["slot"]) for each in findings.differences}):
            context.ledger.rollups.rebuild(hour, hour + HOUR)


def sum_of(column: comparing.Difference) -> tuple[Any, ...]:
    """Name the sum that a column belongs to."""
    return column.table, column.slot, tuple(column.dimensions.values())


def difference(columns: Sequence[comparing.Difference], made_of: str = "records") -> Difference:
    """Put the columns of one sum together, with what it is *made_of*."""
    first = columns[0]
    what = {"table": first.table, "slot": first.slot, **first.dimensions}
    return Difference(
        # SQLAlchemy's names are more than texts, and no JSON.
        what={str(name): str(value) if isinstance(value, str) else value for name, value in what.items()},
        says={
            made_of: {str(each.column): each.records for each in columns},
            "sums": {str(each.column): each.sums for each in columns},
        },
        repairable=True,
    )
