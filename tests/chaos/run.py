"""One run: faults under load, then a time without, then the books."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import requests

from llm_one_api.values import UsageRecord
from tests.chaos.deal import Hand
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene, scene
from tests.chaos.sums import differences
from tests.harness.judge import Books, Evidence, Verdict, Window, books
from tests.harness.load import make
from tests.harness.processes import BIN, Process, wait_until

SETTLE_SECONDS = 60.0
"""In which everything must be in order again, without repair."""
HIT_SECONDS, HEAL_SECONDS = 30.0, 60.0
BOUND = 5.0
"""Seconds that the gateway may add to a call on a machine that starts its processes again and again."""


@dataclass(kw_only=True)
class Played:
    """A fault, and what came of it."""

    name: str
    window: Window
    missed: str | None = None
    """Why it did not hit."""
    stuck: str | None = None
    """What did not work again after it."""


@dataclass(kw_only=True)
class Run:
    """What came of a run."""

    hand: Hand
    seconds: float = 0.0
    verdict: Verdict
    played: list[Played] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)
    """Faults that this machine does not let us make."""
    wrong: list[str] = field(default_factory=list)
    """All that is wrong with what was counted, and with what came afterwards."""
    taken_twice: int = 0
    """Batches that were delivered again after they had been taken in."""
    adopted: int = 0
    """Calls that a killed process left open."""

    @property
    def void(self) -> list[str]:
        """Say why it shows nothing; empty: it does."""
        missed = [f"{played.name}: {played.missed}" for played in self.played if played.missed]
        missed += [] if self.taken_twice else ["no batch was delivered a second time"]
        return missed + ([] if self.adopted else ["no call was adopted"])


def run(hand: Hand, folder: Path) -> Run:
    """Play *hand* in *folder*, and judge."""
    began = time.monotonic()
    with scene(folder, ledger_kind=hand.ledger, chance=Random(f"play {hand.seed}")) as it:
        it.calls.goes_on(20)
        faults = [fault(it) for fault in hand.faults]
        made = [fault for fault in faults if fault.can_be_made()]
        played = _play(made)
        with suppress(AssertionError):  # then the judge says what is not served
            it.calls.goes_on(20)
        it.calls.stop()
        with books(it.ledger.url) as kept:
            verdict, wrong = _settle(it, kept)
        wrong += [*_fresh_call(it), *_audit(it)]
        return Run(
            hand=hand,
            seconds=time.monotonic() - began,
            verdict=verdict,
            played=played,
            not_made=[fault.name for fault in faults if fault not in made],
            wrong=[*wrong, *(f"after {each.name}: {each.stuck}" for each in played if each.stuck)],
            taken_twice=len(it.wire.taken_twice),
            adopted=sum(event["calls"] for event in it.events("relay.adopted")),
        )


def _play(faults: Sequence[Fault]) -> list[Played]:
    """Begin each as soon as none is under way that excludes it, and wait until all are over."""
    waiting, running, played = list(faults), dict[Fault, threading.Thread](), list[Played]()
    while waiting or running:
        for fault in [fault for fault, thread in running.items() if not thread.is_alive()]:
            del running[fault]
        for fault in list(waiting):
            if not any(type(fault).excludes(type(other)) for other in running):
                waiting.remove(fault)
                running[fault] = threading.Thread(target=lambda it=fault: played.append(_play_one(it)))
                running[fault].start()
        time.sleep(0.05)
    return played


def _play_one(fault: Fault) -> Played:
    began = time.monotonic()
    missed = stuck = None
    try:
        fault.strike()
        wait_until(fault.has_hit, timeout=HIT_SECONDS, every=0.1, what="it hits")
        time.sleep(fault.lasts)
    except Exception as error:
        missed = f"{type(error).__name__}: {error}"
    try:
        fault.heal()
        wait_until(fault.is_over, timeout=HEAL_SECONDS, every=0.1, what="all works again")
    except Exception as error:
        # What was not made need not be over; what was made half must be, before another one is.
        stuck = None if missed else f"{type(error).__name__}: {error}"
    return Played(name=fault.name, window=(began, time.monotonic()), missed=missed, stuck=stuck)


def _settle(it: Scene, kept: Books) -> tuple[Verdict, list[str]]:
    """Judge again and again, until nothing is wrong or the time is over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            records = kept.records()
        except Exception as error:  # the ledger's
            records, gaps = [], [f"the ledger cannot be read: {error}"]
        else:
            gaps = []
        verdict = Verdict(
            Evidence(
                sent=list(it.calls.sent), answers=list(it.calls.answers), received=dict(it.upstream.received),
                finished=dict(it.upstream.finished), seconds=dict(it.upstream.seconds), records=records,
                at_kills=frozenset(it.at_kills), kills=list(it.kills), away=it.away, stalls=it.stalls, bound=BOUND,
            )
        )  # fmt: skip
        wrong = [*gaps, *verdict.faults, *_sums(it, records)]
        if not wrong or time.monotonic() > deadline:
            return verdict, wrong
        time.sleep(0.5)


def _sums(it: Scene, records: Sequence[UsageRecord]) -> list[str]:
    try:
        return list(differences(it, records))
    except Exception as error:  # whatever is away
        return [f"the sums cannot be read: {type(error).__name__}: {error}"]


def _audit(it: Scene) -> list[str]:
    """Have the product look through its own books."""
    env = {**(it.product.env or {}), "LLM_ONE_API__JOURNAL__FOLDER": str(it.disk.journal)}
    argv: list[str | Path] = [BIN / "llm-one-api", "verify", "--config", it.product.config]
    audit = Process("verify", argv, folder=it.product.folder, env=env)
    code = audit.popen.wait(60)
    return [f"verify ended with {code}: {audit.text()[-2000:]}"] if code else []


def _fresh_call(it: Scene) -> list[str]:
    """Make one more call, which must be served and counted."""
    name = "fresh.asked-1"
    with requests.Session() as session:
        answer = make(session, it.product.url, name)
    if answer.id is None or not answer.ended:
        return [f"a fresh call is not served: {answer}"]
    try:
        it.product.record(answer.id)
        with books(it.ledger.url) as kept:
            # For a while after Redis was away, ingest books nothing: the quota check does, which is asked for.
            wait_until(
                lambda: not list(it.quotas.differences(kept.records())),
                timeout=SETTLE_SECONDS,
                every=0.5,
                what="its quotas have it booked",
            )
    except AssertionError as error:
        return [f"a fresh call is not counted: {error}"]
    return []
