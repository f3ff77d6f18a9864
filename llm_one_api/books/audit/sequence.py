"""Every number that the ledger has given is still there."""

from __future__ import annotations

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.stores.ledger.audit import Numbers

_TRIES = 3


class SequenceCheck:
    """Counts: the last number given = records + deleted ones. The database sees to it that none stands there twice."""

    name = "sequence"
    compares = "numbers given = records + deleted by retention"
    mends = (
        "cannot be repaired here: `llm-one-api relay resend --since …` on the gateways brings back what they still have"
    )

    def run(self, context: Context) -> Findings:
        """Count, and look for what is missing only if the count is wrong."""
        audit = context.ledger.audit
        before = audit.numbers()
        for _ in range(_TRIES):
            findings = self._look(context, before)
            after = audit.numbers()
            if not findings.count or after.deleted == before.deleted:
                return findings
            before = after  # retention deleted something while the gaps were looked for
        return Findings(unchecked="retention deletes records at this very moment")

    @staticmethod
    def _look(context: Context, numbers: Numbers) -> Findings:
        findings = Findings(compared={"numbers": numbers.given, "records": numbers.records, "deleted": numbers.deleted})
        if numbers.highest > numbers.given:
            findings.add(
                Difference(
                    what={"number": numbers.highest},
                    says={"records": "there", "numbers": f"the last one given is {numbers.given}"},
                    repairable=False,
                )
            )
        missing = numbers.given - numbers.records - numbers.deleted
        if missing < 0:
            findings.add(
                Difference(
                    what={"numbers": numbers.given},
                    says={"records": numbers.records, "deleted": numbers.deleted},
                    repairable=False,
                )
            )
        if missing <= 0:
            return findings
        findings.notes.append(f"{missing} of the numbers that no record has were not deleted by retention")
        kept_since = numbers.deleted_before
        for gap in context.ledger.audit.gaps(numbers.given):
            if kept_since is None or gap.next_at is None or gap.next_at >= kept_since:
                findings.add(
                    Difference(
                        what={"numbers": _range(gap.first, gap.last)},
                        says={"records": "missing", "numbers": "given"},
                        repairable=False,
                    )
                )
        if not findings.count:
            findings.add(Difference(what={"numbers": numbers.given}, says={"missing": missing}, repairable=False))
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Do nothing: what a number stood for is not known here."""


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
