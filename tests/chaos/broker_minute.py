"""The broker away for a minute under a light, steady load: what that does to latencies, and to the records."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import quantiles

import requests

from tests.chaos.scene import Scene, scene
from tests.chaos.sums import differences
from tests.harness.judge import Evidence, Verdict, books
from tests.harness.load import Answer, make
from tests.harness.processes import wait_until

CALLS_A_SECOND = 20
BEFORE, SILENT, GONE, AFTER = 30.0, 30.0, 30.0, 20.0
"""Seconds: as it should be; the broker stopped, so that it takes connections and never answers; killed, so that it
refuses them; back."""
WARM_UP = 10.0
MOST_ADDED = 5.0
"""Milliseconds by which the 99th percentile may grow."""
SETTLE_SECONDS = 60.0


@dataclass(kw_only=True)
class Minute:
    """What came of it."""

    before: list[Answer] = field(default_factory=list)
    during: list[Answer] = field(default_factory=list)
    after: list[Answer] = field(default_factory=list)
    seconds: dict[str, float]
    """How long the upstream took over each call."""
    wrong: list[str] = field(default_factory=list)

    def added(self, answers: Sequence[Answer]) -> list[float]:
        """Tell the milliseconds of each call, as its caller saw it, that were not the upstream's."""
        return [1000 * (answer.seconds - self.seconds.get(answer.name, 0.0)) for answer in answers]

    @property
    def faults(self) -> list[str]:
        """Say all that is wrong."""
        found = list(self.wrong)
        for what, before, during in (
            ("the gateway's own overhead", _overheads(self.before), _overheads(self.during)),
            ("what callers see", self.added(self.before), self.added(self.during)),
        ):
            grown = p99(during) - p99(before)
            if grown > MOST_ADDED:
                found.append(f"p99 of {what} has grown by {grown:.1f} ms, which is more than {MOST_ADDED:g} ms")
        return found

    def table(self) -> str:
        """Show it in Markdown."""
        rows = [
            ("before", self.before),
            ("broker away for a minute", self.during),
            ("after", self.after),
        ]
        return "\n".join([
            "| | calls | gateway's overhead p50 | p99 (ms) | added, as callers see it p50 | p99 (ms) |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                f"| {name} | {len(answers):,} | {_p50(_overheads(answers)):.2f} | {p99(_overheads(answers)):.2f} "
                f"| {_p50(self.added(answers)):.2f} | {p99(self.added(answers)):.2f} |"
                for name, answers in rows
            ),
        ])  # fmt: skip


def broker_minute(folder: Path) -> Minute:
    """Play it in *folder*, and judge."""
    with scene(folder, ledger_kind="sqlite", chance=Random(0), callers=0) as it:
        load = Steady(it)
        load.run_for(WARM_UP)
        before = load.run_for(BEFORE)
        it.valkey.pause()
        during = load.run_for(SILENT)
        it.valkey.kill()
        during += load.run_for(GONE)
        it.start_process(it.valkey.start)
        after = load.run_for(AFTER)
        load.close()
        minute = Minute(before=before, during=during, after=after, seconds=dict(it.upstream.seconds))
        minute.wrong = _missing(it, load)
        return minute


class Steady:
    """Calls that begin at fixed times, whether others have ended or not: a slow answer slows no caller but its own."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._pool = ThreadPoolExecutor(64)
        self._sessions = threading.local()
        self.sent: list[str] = []
        self.answers: list[Answer] = []

    def run_for(self, seconds: float) -> list[Answer]:
        """Make calls for so long; gives what came of them."""
        pending = []
        began = time.monotonic()
        for number in range(round(seconds * CALLS_A_SECOND)):
            time.sleep(max(0.0, began + number / CALLS_A_SECOND - time.monotonic()))
            name = f"steady.plain-{len(self.sent)}"
            self.sent.append(name)
            pending.append(self._pool.submit(self._make, name))
        answers = [each.result() for each in pending]
        self.answers += answers
        return answers

    def close(self) -> None:
        self._pool.shutdown()

    def _make(self, name: str) -> Answer:
        if not hasattr(self._sessions, "mine"):
            self._sessions.mine = requests.Session()
        return make(self._sessions.mine, self._scene.product.url, name)


def p99(figures: Sequence[float]) -> float:
    """Give what 99 of 100 are below."""
    return quantiles(figures, n=100, method="inclusive")[98]


def _p50(figures: Sequence[float]) -> float:
    return quantiles(figures, n=2, method="inclusive")[0]


def _overheads(answers: Sequence[Answer]) -> list[float]:
    return [answer.overhead for answer in answers if answer.overhead is not None]


def _missing(it: Scene, load: Steady) -> list[str]:
    """Wait until nothing is wrong with the books, or say what is."""
    with books(it.ledger.url) as kept:
        found: list[str] = []

        def is_in_order() -> bool:
            verdict = Verdict(
                Evidence(
                    sent=load.sent, answers=load.answers, received=Counter(it.upstream.received),
                    finished=dict(it.upstream.finished), seconds=dict(it.upstream.seconds), records=kept.records(),
                )
            )  # fmt: skip
            found[:] = [*verdict.faults, *differences(it, kept.records())]
            return not found

        try:
            wait_until(is_in_order, timeout=SETTLE_SECONDS, every=0.5)
        except AssertionError:
            pass
    return found
