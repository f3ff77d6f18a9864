"""Records that were set aside: known and told, so they are no difference; but somebody has to look at them."""

from __future__ import annotations

from llm_one_api.books.audit.check import Context, Findings

_SHOWN = 3


class SetAsideCheck:
    """Counts refused records and dead letters, of whatever day."""

    name = "set aside"
    compares = "records that were refused, and dead letters"
    mends = "nothing to repair: `llm-one-api deadletter list` shows them, `replay` and `drop` decide"

    def run(self, context: Context) -> Findings:
        """List them."""
        audit = context.ledger.audit
        refused, dead = audit.refused(_SHOWN), audit.dead(_SHOWN)
        findings = Findings(only_tells=True)
        findings.compared = {
            "refused records": sum(each.calls for each in refused),
            "dead letters": sum(each.calls for each in dead),
        }
        for each in refused:
            findings.notes.append(f"the ledger: {each.calls} {each.by}, such as {', '.join(each.newest)}")
        for each in dead:
            findings.notes.append(f"plugin {each.by}: {each.calls} dead letters, such as {', '.join(each.newest)}")
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Do nothing: what becomes of them is the operator's choice."""
