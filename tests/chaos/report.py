"""What several runs came to, as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.faults import ALWAYS, DECK
from tests.chaos.faults.fault import GATEWAY
from tests.chaos.run import Run
from tests.harness.judge import Window
from tests.harness.load import Answer


@dataclass
class Row:
    """One fault, over all runs."""

    times: int = 0
    calls: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    worst: float = 0.0
    """Seconds that the gateway added to a call at most."""

    def add(self, run: Run, window: Window | None, *, own: bool = True) -> None:
        """Take in the calls of *run* that were under way in *window*.

        *own*: what a call waited for its own process counts too, if that began meanwhile; else it is another fault's.
        """
        verdict = run.verdict
        answers = [a for a in verdict.evidence.answers if window is None or _overlaps(a, window)]
        names = {answer.name for answer in answers}
        self.times += 1
        self.calls += len(names)
        self.records += sum(record.end_user in names for record in verdict.evidence.records)
        self.lost += len(names & verdict.lost)
        self.doubled += len(names & verdict.doubled)
        others = [
            stall
            for stall in (*verdict.evidence.stalls, *verdict.evidence.away)
            if not own or (window and not window[0] <= stall[0] <= window[1])
        ]
        undisturbed = [answer for answer in answers if not any(_overlaps(answer, stall) for stall in others)]
        self.worst = max([self.worst, *map(verdict.added, undisturbed)])


def table(runs: Sequence[Run]) -> str:
    """Show what each fault did; the calls are those that were under way while it lasted, of which some faults share."""
    rows: dict[str, Row] = {fault.name: Row() for fault in (*ALWAYS, *DECK)}
    of_gateway = {fault.name for fault in (*ALWAYS, *DECK) if GATEWAY in fault.breaks}
    everything = Row()
    for run in runs:
        everything.add(run, None)
        for played in run.played:
            if not played.missed:
                rows[played.name].add(run, played.window, own=played.name in of_gateway)
    lines = [
        "| fault | times | calls | records | lost | doubled | worst added latency (ms) |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_line(name, row) for name, row in rows.items() if row.times),
        _line("**whole runs**", everything),
    ]
    return "\n".join(lines)


def told(run: Run) -> str:
    """Say in some lines what a run came to."""
    outcomes = ", ".join(f"{outcome} {count}" for outcome, count in run.verdict.outcomes.most_common())
    lines = [
        f"seed {run.hand.seed} ({run.hand.ledger}, {run.seconds:.0f} s): {len(run.verdict.evidence.sent)} calls",
        f"  records: {outcomes}",
        f"  {run.taken_twice} batches taken twice, {run.adopted} calls adopted",
        *(f"  not made on this machine: {name}" for name in run.not_made),
        *(f"  VOID   {reason}" for reason in run.void),
        *(f"  WRONG  {fault}" for fault in run.wrong),
    ]
    return "\n".join(lines)


def _line(name: str, row: Row) -> str:
    figures = (row.times, row.calls, row.records, row.lost, row.doubled, round(row.worst * 1000))
    return f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} |"


def _overlaps(answer: Answer, window: Window) -> bool:
    return answer.began <= window[1] and answer.began + answer.seconds >= window[0]
