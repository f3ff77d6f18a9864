"""What a run plays on: the whole product under load, and everything around it that can be disturbed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import requests

from tests.chaos.clock import Clock
from tests.chaos.disk import Disk, disk
from tests.chaos.ledgers import LedgerKind, PostgresServer, SqliteFile, ledger
from tests.chaos.quotas import LIMITS, Quotas
from tests.harness.bookkeeper import KINDS, Bookkeeper, bookkeeper
from tests.harness.judge import Window
from tests.harness.load import Load
from tests.harness.plugins import entry_points
from tests.harness.processes import BIN, ROOT, Process, wait_until
from tests.harness.product import Product, config
from tests.harness.services import Copy, Valkey, Wire, wire

PLUGIN = "troubled"
PLUGIN_MEMORY = "200MB"
CALLERS, PAUSE = 8, 0.1
_JUST_BEFORE = 5
"""Copies. One from longer ago may be a dead worker's, whose hands the broker holds for minutes."""
_LEAVING_SECONDS = 1.0
"""In which the gateway has noticed that a caller has left."""


@dataclass(kw_only=True)
class Scene:
    """The parts, and what the faults note for the judge."""

    product: Product
    upstream: Bookkeeper
    valkey: Valkey
    wire: Wire
    ledger: SqliteFile | PostgresServer
    disk: Disk
    clock: Clock
    plugin: Path
    """The folder by which the stranger's plugin is told what to do."""
    calls: Load
    quotas: Quotas
    chance: Random
    at_kills: set[str] = field(default_factory=set)
    kills: list[float] = field(default_factory=list)
    away: list[Window] = field(default_factory=list)
    stalls: list[Window] = field(default_factory=list)
    starter: ThreadPoolExecutor
    _read: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list)

    def events(self, name: str, **values: Any) -> list[dict[str, Any]]:
        """Give what the product has logged so far of the event *name*, with these values."""
        text = self._output()
        end = text.rfind(b"\n", self._read) + 1
        for line in text[self._read : end].splitlines() if end > self._read else ():
            if line.startswith(b"{"):
                self._events.append(json.loads(line))
        self._read = max(self._read, end)
        return [
            event
            for event in list(self._events)
            if event.get("event") == name and all(event.get(key) == value for key, value in values.items())
        ]

    def delivered(self) -> list[str]:
        """Give the ids of the calls that the stranger's plugin has taken, each as often as it has."""
        file = self.plugin / "delivered"
        return file.read_text().split() if file.exists() else []

    def start_process(self, start: Callable[[], object]) -> None:
        """Have *start* done by a thread that stays: a process of ours ends with the thread that started it."""
        self.starter.submit(start).result()

    def kill_serving(self, kill: Callable[[], object]) -> None:
        """Kill processes that serve calls by *kill*, and note which calls that may have hit."""
        sent = len(self.calls.sent)
        before = self.calls.under_way  # in this order: a call is under way first, then in the list
        leaving = time.monotonic() - _LEAVING_SECONDS
        kill()
        self.kills.append(time.monotonic())
        self.at_kills |= before | set(self.calls.sent[sent:])
        self.at_kills |= {a.name for a in self.calls.answers if a.seen == "left" and a.began + a.seconds > leaving}

    @contextmanager
    def noting(self, windows: list[Window]) -> Iterator[None]:
        """Note that the block was one of *windows*."""
        began = time.monotonic()
        windows.append((began, float("inf")))
        place = len(windows) - 1
        try:
            yield
        finally:
            windows[place] = (began, time.monotonic())

    def answers(self) -> bool:
        """Tell whether the gateway takes calls."""
        try:
            return requests.get(f"{self.product.url}/health/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def knows_the_broker(self) -> bool:
        """Tell whether the relay has the broker that it missed back."""
        return len(self.events("relay.back", what="broker")) >= len(self.events("relay.away", what="broker"))

    def gunicorn(self) -> list[psutil.Process]:
        return self.product.part("gunicorn: master")

    def gunicorn_workers(self) -> list[psutil.Process]:
        return self.product.part("gunicorn: worker")

    def relay(self) -> list[psutil.Process]:
        return self.product.part("llm_one_api.cli relay")

    def ingest(self) -> list[psutil.Process]:
        return self.product.part("MainProcess", "-Q ingest")

    def ingest_children(self) -> list[psutil.Process]:
        return self.product.part("worker-ingest", "ForkPoolWorker")

    def deliver(self) -> list[psutil.Process]:
        return self.product.part("MainProcess", "-Q deliver")

    def deliver_children(self) -> list[psutil.Process]:
        return self.product.part("worker-deliver", "ForkPoolWorker")

    def wait_for_calm(self) -> None:
        """Wait until the ingest worker has taken what was sent: else it is too full for anything new."""
        wait_until(lambda: self._waiting() == 0, timeout=40, what="all messages are taken")

    def in_mid_batch(self, since: int) -> Copy | None:
        """Give a batch that the ingest worker has in its hands, of the copies sent from the number *since* on.

        While the ledger is held it is in the middle of it, or of one from just before.
        """
        with self.valkey.client() as client:
            taken = {tag.decode() for tag in client.hkeys("oneapi:unacked")}
        recent = self.wire.copies[max(0, since - _JUST_BEFORE) :]
        return next((copy for copy in recent if copy.tag in taken and not self.wire.acks[copy.batch]), None)

    def _waiting(self) -> int:
        with self.valkey.client() as client:
            return int(client.llen("oneapi:ingest"))

    def _output(self) -> bytes:
        assert self.product.process is not None
        return self.product.process.output.read_bytes()


@contextmanager
def scene(folder: Path, *, ledger_kind: LedgerKind, chance: Random, callers: int = CALLERS) -> Iterator[Scene]:
    """Run it for the length of a block; the load begins with it, and ends with it at the latest."""
    home = folder / "up"
    with ExitStack() as held:
        starter = held.enter_context(ThreadPoolExecutor(1))
        clock = Clock(folder / "clock")
        upstream = held.enter_context(bookkeeper())
        valkey = Valkey(folder / "valkey", clock.env)
        held.callback(valkey.close)
        valkey.start()
        database = held.enter_context(ledger(ledger_kind, home))
        plugin = folder / "plugin"
        plugin.mkdir()
        path = entry_points(folder, {"stats": {PLUGIN: "tests.chaos.plugin:TroubledPlugin"}})
        made = config(
            upstream.url,
            redis={"url": valkey.url},
            ledger={"url": database.url},
            server={"workers": 2},
            # What takes minutes with the defaults takes seconds here.
            relay={"resend_min": 1, "resend_max": 10},
            delivery={"lease": 6, "call_timeout": 1.4, "retry_max": 5, "max_memory": PLUGIN_MEMORY},
            logging={"format": "json"},
            plugins={"stats": ["log", "memory", PLUGIN]},
            stats={"log": {"format": "json"}, PLUGIN: {"folder": str(plugin)}},
            **LIMITS,
        )
        env = {**clock.env, "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))}
        product = Product(home, made, env=env)
        held.callback(product.close)
        around = disk(
            (home / "data" / "journal").resolve(),
            lambda: product.process.pid if product.process else 0,
            lambda: product.part("gunicorn: worker"),
        )
        product.within = around.within
        if ledger_kind == "postgresql":
            upgrade = Process(
                "upgrade", [BIN / "llm-one-api", "db", "upgrade", "--config", product.config], folder=home, env=env
            )
            assert upgrade.popen.wait(60) == 0, upgrade.text()
        product.start()
        calls = Load(product.url, "chaos", callers=callers, pause=PAUSE, kinds=_MIX)
        it = Scene(
            product=product, upstream=upstream, valkey=valkey, wire=held.enter_context(wire(valkey)), ledger=database,
            disk=around, clock=clock, plugin=plugin, calls=calls, quotas=Quotas(valkey.url), chance=chance,
            starter=starter,
        )  # fmt: skip
        held.callback(calls.stop)
        calls.start()
        yield it


_MIX = ("plain", "stream", "asked", "left", "stream", "plain", *KINDS)
"""Mostly good calls."""
