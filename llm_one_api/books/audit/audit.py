"""All checks, one after another, and what they have found together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from llm_one_api.books.audit.check import Check, Context, Findings
from llm_one_api.books.audit.exports import ExportsCheck
from llm_one_api.books.audit.memory import MemoryCheck
from llm_one_api.books.audit.periods import PeriodsCheck
from llm_one_api.books.audit.quotas import QuotasCheck
from llm_one_api.books.audit.rollups import RollupsCheck
from llm_one_api.books.audit.segments import SegmentsCheck
from llm_one_api.books.audit.sequence import SequenceCheck
from llm_one_api.books.audit.set_aside import SetAsideCheck
from llm_one_api.values import Value

CHECKS: tuple[Check, ...] = (
    SegmentsCheck(), SequenceCheck(), RollupsCheck(), PeriodsCheck(), QuotasCheck(), MemoryCheck(), ExportsCheck(),
    SetAsideCheck(),
)  # fmt: skip
"""A check is a file and a place in this row. Repairs go in this order: first records, then what is made of them."""

AGREES, DIFFERS, UNCHECKED = 0, 1, 2


class Checked(Value, frozen=True, kw_only=True):
    """What one check has found."""

    check: Check
    found: Findings
    """At the first look."""
    left: Findings | None = None
    """After a repair; None: none was tried."""

    @property
    def last(self) -> Findings:
        """What holds now."""
        return self.left or self.found

    def plain(self) -> dict[str, Any]:
        """Lay it out for JSON."""
        found = self.last
        plain = {
            "check": self.check.name,
            "compares": self.check.compares,
            "state": found.state,
            "compared": found.compared,
            "count": found.count,
            "repairable": found.repairable,
            "differences": found.differences,
            "unchecked": found.unchecked,
            "elsewhere": found.elsewhere,
            "notes": found.notes,
        }
        if self.left is not None:
            plain["before_repair"] = {"count": self.found.count, "differences": self.found.differences}
        return plain


class Report(Value, frozen=True, kw_only=True):
    """What all have found."""

    since: datetime
    until: datetime
    checked: tuple[Checked, ...]

    @property
    def verdict(self) -> int:
        """Give the exit code: differences weigh more than what could not be checked."""
        states = {each.last.state for each in self.checked}
        if "differs" in states:
            return DIFFERS
        return UNCHECKED if any(each.last.unchecked for each in self.checked) else AGREES

    @property
    def repairable(self) -> int:
        """How many differences a repair could put right."""
        return sum(each.last.repairable for each in self.checked)


def audit(context: Context, *, repair: bool = False, checks: Sequence[Check] = CHECKS) -> Report:
    """Run *checks*; with *repair*, put right what can be, and look a second time.

    Raises what the ledger raises.
    """
    checked = tuple(_look(check, context, repair=repair) for check in checks)
    return Report(since=context.since, until=context.until, checked=checked)


def _look(check: Check, context: Context, *, repair: bool) -> Checked:
    found = check.run(context)
    if not (repair and found.repairable):
        return Checked(check=check, found=found)
    check.repair(context, found)
    return Checked(check=check, found=found, left=check.run(context))
