"""Starts the parts that carry records from the journal to the plugins, and watches them do it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click
import redis

from llm_one_api.cli import parts
from llm_one_api.cli.benching.processes import Machine, Processes, Taken
from llm_one_api.cli.embedded_valkey import EmbeddedValkey
from llm_one_api.cli.supervise.child import Part
from llm_one_api.cli.supervise.signals import Signals
from llm_one_api.cli.supervise.supervisor import Supervisor
from llm_one_api.lifetime import BEHIND_CALLS
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Value

RELAY, VALKEY = "relay", "valkey"
LOOK_EVERY = 0.5
"""Seconds."""
_STARTED_WITHIN = 60.0


class Interrupted(Exception):
    """Somebody wants it to end."""


class Point(Value, frozen=True, kw_only=True):
    """How many records had come how far, so many seconds after the first had."""

    seconds: float
    ledger: int
    log: int
    memory: int

    @property
    def least(self) -> int:
        """How many were everywhere."""
        return min(self.ledger, self.log, self.memory)


class Carried(Value, frozen=True, kw_only=True):
    """What was seen."""

    curve: tuple[Point, ...]
    taken: tuple[Taken, ...]
    busy: float
    """The share of the machine's cores that was busy meanwhile."""
    restarts: int

    @property
    def last(self) -> Point:
        """How it was in the end."""
        return self.curve[-1]


class Pipeline:
    """The running parts, but for the gateway."""

    def __init__(self, settings: Settings, env: Mapping[str, str], valkey: EmbeddedValkey, signals: Signals) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._env = env
        self._valkey = valkey
        self._signals = signals
        self._supervisor = Supervisor(signals)
        self._run = settings.data_dir / "run"
        self._processes = Processes()

    def start(self) -> None:
        """Start all but the relay, and wait until tasks would be taken."""
        start = self._supervisor.start
        start(self._valkey.part)
        self._wait(self._valkey.answers, VALKEY)
        for name, queues, processes in ((parts.INGEST, "ingest", 1), (parts.DELIVER, "deliver,jobs", 2)):
            start(parts.worker(name, queues, processes, self._env, self._run))
        start(parts.beat(self._env, self._run))
        for name in parts.WORKERS:
            self._wait(parts.ready_file(self._run, name).exists, name)

    def carry(self, ledger: Ledger, before: int, records: int, timeout: float) -> Carried:
        """Let the relay begin, and watch until *records* more than *before* are everywhere, for *timeout* seconds."""
        memory = MemoryStatsPlugin(PluginConfig({}, self._settings.plugin_context()))
        self._look()
        relay = (sys.executable, "-m", "llm_one_api.cli", "relay")
        self._supervisor.start(Part(name=RELAY, argv=relay, env=self._env, nice=BEHIND_CALLS))
        until, began, machine = time.monotonic() + timeout, 0.0, Machine()
        curve: list[Point] = []
        while time.monotonic() < until and not self._signals.stopping:
            kept, log, counted = _places(ledger, memory)
            if kept > before:
                now = time.monotonic()
                if not began:
                    began, machine = now, Machine()
                curve.append(
                    Point(
                        seconds=now - began,
                        ledger=kept - before,
                        log=max(0, log - before),
                        memory=max(0, counted - before),
                    )
                )
                if curve[-1].least >= records:
                    break
            self._look()
            if not curve:
                self._processes.begin()
            self._supervisor.wait(0.05 if not curve else LOOK_EVERY)
        self._look()
        memory.cleanup()
        if self._signals.stopping:
            raise Interrupted
        if not curve:
            raise click.ClickException(f"no record came into the ledger within {timeout:g} s")
        names = (RELAY, *parts.WORKERS, parts.BEAT, VALKEY)
        return Carried(
            curve=tuple(curve),
            taken=tuple(self._processes.taken()),
            busy=machine.busy(),
            restarts=sum(self._supervisor.restarts(name) for name in names),
        )

    def close(self) -> None:
        """End everything, Valkey after what uses it."""
        try:
            self._supervisor.stop_all(VALKEY)
        finally:
            self._supervisor.kill_all()

    def _look(self) -> None:
        pid = self._supervisor.pid
        self._processes.look(RELAY, pid(RELAY))
        for name in parts.WORKERS:
            self._processes.look(name, pid(name), has_pool=True)
        self._processes.look(parts.BEAT, pid(parts.BEAT))
        self._processes.look(VALKEY, pid(VALKEY))

    def _wait(self, ready: Callable[[], bool], name: str) -> None:
        until = time.monotonic() + _STARTED_WITHIN
        while not ready():
            if self._signals.stopping:
                raise Interrupted
            if time.monotonic() > until:
                raise click.ClickException(f"{name} does not start")
            self._supervisor.wait(0.1)


def _places(ledger: Ledger, memory: MemoryStatsPlugin) -> tuple[int, int, int]:
    """Tell the places of the ledger's newest record and of the last ones that `log` and `memory` have had."""
    position = ledger.cursors.position("log")
    try:
        counted = memory.place()
    except redis.RedisError:
        counted = None
    return ledger.last_seq(), position.seq if position else 0, counted or 0


@contextmanager
def pipeline(
    settings: Settings, env: Mapping[str, str], valkey: EmbeddedValkey, signals: Signals
) -> Iterator[Pipeline]:
    """Run one for the length of a block."""
    running = Pipeline(settings, env, valkey, signals)
    try:
        running.start()
        yield running
    finally:
        running.close()
