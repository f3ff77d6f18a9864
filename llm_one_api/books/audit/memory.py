"""What the memory plugin has counted is what the ledger has."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import redis

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.plugins.memory import MAX_PAIRS, AuditView, MemoryStatsPlugin, sums
from llm_one_api.plugins.memory_scripts import FIGURES
from llm_one_api.stores.ledger.ledger import Ledger

CONSUMER = "memory"
OTHER = "(other)"
_LEASE = 60.0
_PATIENCE = 10.0

Pairs = dict[tuple[str, str], dict[str, int]]


class MemoryCheck:
    """Adds up the records of the present run, by key and model, and compares every figure."""

    name = "memory"
    compares = "the memory plugin's totals = records of its run"
    mends = "has the plugin count its run anew, from the ledger"

    def run(self, context: Context) -> Findings:
        """Compare up to the record that the plugin has counted last."""
        if context.memory is None:
            return Findings(elsewhere="nothing is counted: the plugin is not on, or `llm-one-api up` does not run")
        try:
            view = context.memory.audit_view()
        except redis.RedisError as error:
            return Findings(unchecked=f"Redis is away ({type(error).__name__})")
        except (TypeError, ValueError):
            return Findings(unchecked="its keys in Redis are damaged: delete …:memory:*, and its run is counted anew")
        if view is None:
            return Findings(elsewhere="nothing is counted yet")
        return _compare(context.ledger, view)

    def repair(self, context: Context, findings: Findings) -> None:
        """Begin the run again where it began; the workers count it at their next look."""
        if not findings.repairable or context.memory is None:
            return
        view = context.memory.audit_view()
        if view is not None:
            _restart(context.ledger, context.memory, view.since)


def _compare(ledger: Ledger, view: AuditView) -> Findings:
    findings = Findings()
    kept = ledger.audit.count_places(view.since, view.place)
    if kept < view.place - view.since and ledger.audit.deleted_before() is not None:
        findings.elsewhere = "records of its run are deleted by now: it can be compared again after its next start"
        return findings
    counted, calls = _expected(ledger, view)
    findings.compared = {"records": calls, "pairs of key and model": len(counted)}
    if (behind := ledger.last_seq() - view.place) > 0:
        findings.notes.append(f"{behind} records are not counted yet")
    found = view.totals
    if len(found) >= MAX_PAIRS:
        counted = _folded(counted, found)
    for pair in sorted(counted.keys() | found.keys()):
        _differ(findings, pair, counted.get(pair), found.get(pair))
    return findings


def _expected(ledger: Ledger, view: AuditView) -> tuple[Pairs, int]:
    """Add up what the run comes to by the ledger, and tell how many records it were."""
    pairs: Pairs = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    calls = 0
    for page in ledger.audit.figures(view.since, view.place, CONSUMER):
        calls += len(page)
        for pair, figures in sums(_as_info(row) for row in page).items():
            total = pairs[pair]
            for name, figure in figures.items():
                total[name] += figure
    return pairs, calls


def _as_info(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Present a row as far as the plugin looks at it."""
    return {"key": row["key"], "model": row["model"], "token_usage": row, "duration": row["duration"]}


def _folded(counted: Pairs, found: Pairs) -> Pairs:
    """Put the models together that the plugin no longer told apart."""
    folded: Pairs = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    for (key, model), figures in counted.items():
        total = folded[(key, model) if (key, model) in found else (key, OTHER)]
        for name, figure in figures.items():
            total[name] += figure
    return folded


def _differ(
    findings: Findings, pair: tuple[str, str], counted: Mapping[str, int] | None, found: Mapping[str, int] | None
) -> None:
    for name in FIGURES:
        records, memory = (counted or {}).get(name, 0), (found or {}).get(name, 0)
        if records != memory:
            what = {"key": pair[0], "model": pair[1], "figure": name}
            findings.add(Difference(what=what, says={"records": records, "memory": memory}, repairable=True))


def _restart(ledger: Ledger, memory: MemoryStatsPlugin, since: int) -> None:
    """Begin the run again while no delivery is under way; after a while, in the middle of one: it notices."""
    deadline = time.monotonic() + _PATIENCE
    lease = None
    while lease is None and time.monotonic() < deadline:
        lease = ledger.cursors.lease(CONSUMER, "verify", _LEASE)
        if lease is None:
            time.sleep(0.05)
    try:
        memory.restart(since)
    finally:
        if lease is not None:
            ledger.cursors.release(lease)
