"""`kill -9` of the product's own processes, each at its worst moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.chaos.faults.fault import BROKER, DELIVER, GATEWAY, INGEST, LEDGER, RECORDS, RELAY, WAY, Fault
from tests.harness.processes import wait_until
from tests.harness.services import Copy

HANDED_ON = 0.3
"""Seconds in which Celery's main process has handed a batch on to a child, which it says nowhere. To kill the child
before that hits nothing."""


class Kill(Fault):
    """Kills processes, and is over when there are others instead."""

    def find(self) -> Sequence[psutil.Process]:
        """Name the processes of this kind."""
        raise NotImplementedError

    def kill(self, victims: Sequence[psutil.Process] | None = None) -> None:
        """Kill *victims*, or all, and wait until they are dead."""
        before = self.find()
        assert before, "there is none to kill"
        chosen = before if victims is None else victims
        self._gone = {victim.pid for victim in chosen}
        self._count = len(before)
        for victim in chosen:
            victim.kill()
        wait_until(lambda: all(map(_is_dead, chosen)), every=0.001, what="they are dead")

    def is_over(self) -> bool:
        return len({process.pid for process in self.find()} - self._gone) >= self._count


def _is_dead(process: psutil.Process) -> bool:
    """Tell whether its last thread has ended, and with it all its connections."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE and len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True


class WorkerKilled(Kill):
    """One process that serves calls, or all of them, in the middle of calls."""

    name = "`kill -9` gunicorn worker"
    breaks = frozenset({GATEWAY})
    needs = frozenset({RELAY})

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.gunicorn_workers()

    def strike(self) -> None:
        for _ in range(4):
            self._adopted = len(self.scene.events("relay.adopted"))
            wait_until(lambda: len(self.scene.upstream.in_hand) >= 3, every=0.001, what="calls are in their middle")
            workers = self.find()
            victims = self.scene.chance.choice([workers, workers[:1], workers[-1:]])
            # Nobody takes new calls until one of the new processes does.
            with self.scene.noting(self.scene.stalls if victims == workers else []):
                self.scene.kill_serving(lambda chosen=victims: self.kill(chosen))  # type: ignore[misc]
                wait_until(lambda: self.is_over() and self.scene.answers(), timeout=40, what="there are other workers")
            try:
                wait_until(self.has_hit, timeout=3)
            except AssertionError:  # the one that was killed had no calls
                continue
            return

    def has_hit(self) -> bool:
        """The relay has made records of the calls that were left open."""
        return len(self.scene.events("relay.adopted")) > self._adopted


class GunicornKilled(Kill):
    """The process that starts those; nobody listens until there is another."""

    name = "`kill -9` gunicorn master"
    breaks = frozenset({GATEWAY, RECORDS})

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._away = ExitStack()

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.gunicorn()

    def strike(self) -> None:
        self._away.enter_context(self.scene.noting(self.scene.away))
        self.scene.kill_serving(self.kill)

    def has_hit(self) -> bool:
        return bool(self.scene.events("part.died", part="gateway"))

    def is_over(self) -> bool:
        if not super().is_over() or len(self.scene.gunicorn_workers()) < 2 or not self.scene.answers():
            return False
        self._away.close()
        return True


class RelayKilled(Kill):
    """The relay, while batches are under way that nobody has acknowledged."""

    name = "`kill -9` relay"
    breaks = frozenset({RELAY, LEDGER})
    needs = WAY - breaks

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.relay()

    def strike(self) -> None:
        self.scene.wait_for_calm()
        with self.scene.ledger.held():
            before = len(self.scene.wire.copies)
            wait_until(lambda: len(self.scene.wire.copies) > before, what="a batch is under way")
            self.kill()
            self._batch = self.scene.wire.copies[-1].batch
            wait_until(self.is_over, timeout=40, what="there is another relay")

    def has_hit(self) -> bool:
        """Its successor has sent what it had sent."""
        sent = {name for copy in self.scene.wire.copies if copy.batch == self._batch for name in copy.end_users}
        return sum(bool(sent.intersection(copy.end_users)) for copy in self.scene.wire.copies) > 1


class KilledInBatch(Kill):
    """Kills what is in the middle of taking a batch in."""

    breaks = frozenset({INGEST, LEDGER})
    needs = WAY - breaks

    def strike(self) -> None:
        wire = self.scene.wire
        self.scene.wait_for_calm()
        self._given_back = wire.given_back
        with self.scene.ledger.held():
            since = len(wire.copies)
            wait_until(lambda: self.scene.in_mid_batch(since), what="a batch is being taken in")
            taken = time.monotonic()
            self._batch = wait_until(
                lambda: time.monotonic() - taken > HANDED_ON and self.scene.in_mid_batch(since), what="a child has it"
            ).batch
            self.kill()


class CeleryChildKilled(KilledInBatch):
    """The process that takes batches in."""

    name = "`kill -9` Celery child, in mid-batch"

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.ingest_children()

    def has_hit(self) -> bool:
        """Celery has put the batch back into the queue."""
        return self.scene.wire.given_back > self._given_back


class CeleryKilledInBatch(KilledInBatch):
    """The worker's main process, and its child with it: nobody gives the batch back."""

    name = "`kill -9` Celery main, in mid-batch"

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.ingest()

    def has_hit(self) -> bool:
        """The relay has sent the batch again."""
        return self.scene.wire.times_sent(self._batch) > 1


class CeleryKilledWithMessage(Kill):
    """The worker's main process, idle, when a message was just popped for it: that is nowhere any more."""

    name = "`kill -9` Celery main, in the BRPOP window"
    breaks = frozenset({INGEST})
    needs = WAY - breaks

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.ingest()

    def strike(self) -> None:
        self._main: psutil.Process | None = None
        self._batch = self._pop()
        self.kill()

    def heal(self) -> None:
        if self._main is not None and self._main.is_running():
            self._main.resume()

    def has_hit(self) -> bool:
        """The relay has sent the batch again."""
        return self.scene.wire.times_sent(self._batch) > 1

    def _pop(self) -> str:
        """Stop the idle process so that a message goes into its socket, where nobody reads it."""
        wire = self.scene.wire
        for _ in range(200):
            self.scene.wait_for_calm()
            (self._main, *_) = self.find()
            before = len(wire.copies)
            self._main.suspend()
            wait_until(lambda n=before: len(wire.copies) > n, what="a message is sent")  # type: ignore[misc]
            copy = wire.copies[before]
            if not self._is_in_sight(copy) and not wire.acks[copy.batch]:
                return copy.batch
            self._main.resume()
            wait_until(lambda b=copy.batch: wire.acks[b], what="it works on")  # type: ignore[misc]
        raise AssertionError("no message was ever between the queue and the worker")

    def _is_in_sight(self, copy: Copy) -> bool:
        """Tell whether it stands in the queue, or in the worker's hands."""
        with self.scene.valkey.client() as client:
            return bool(client.llen("oneapi:ingest") or client.hexists("oneapi:unacked", copy.tag))


class DeliveryKilled(Kill):
    """The worker that feeds the plugins."""

    name = "`kill -9` delivering worker"
    breaks = frozenset({DELIVER})
    needs = frozenset({BROKER})

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.deliver()

    def strike(self) -> None:
        self.kill()

    def has_hit(self) -> bool:
        return bool(self.scene.events("part.died", part="worker-deliver"))
