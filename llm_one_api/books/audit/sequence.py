"""Every number that the ledger has given is still there."""

from __future__ import annotations

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.stores.ledger.audit import Gap, Numbers

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
        findings.notes.append(f"numbers that no record has and that retention did not delete: {missing}")
        accounted = 0
        deleted_first: Gap | None = None
        for gap in context.ledger.audit.gaps(numbers.given):
            if numbers.deleted and gap.first == 1:
                deleted_first = gap
            else:
                accounted += gap.last - gap.first + 1
                findings.add(_missing(gap))
        if accounted < missing and deleted_first is not None:
            findings.add(_missing(deleted_first))
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Do nothing: what a number stood for is not known here."""


def _missing(gap: Gap) -> Difference:
    which = str(gap.first) if gap.first == gap.last else f"{gap.first}-{gap.last}"
    return Difference(what={"numbers": which}, says={"records": "missing", "numbers": "given"}, repairable=False)
