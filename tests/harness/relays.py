"""A real relay process, something that takes its messages from the broker, and writers to be killed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from llm_one_api.stores.counters import Acks
from llm_one_api.values import UsageRecord
from tests.harness.messages import read_message
from tests.harness.processes import Process, wait_until
from tests.harness.scripted_writer import Script
from tests.harness.services import Valkey

RELAY = [sys.executable, "-m", "llm_one_api.cli", "relay"]


class Ingest:
    """Stands in for the ingest workers: takes messages as they do, keeps the records, acks."""

    def __init__(self, valkey: Valkey) -> None:
        """Take from *valkey*."""
        self._client = valkey.client()
        self._acks = Acks(self._client, "oneapi:")
        self.acking = True
        self.batches: list[str] = []
        self.records: dict[str, UsageRecord] = {}
        self.contradictions: list[str] = []
        self.times: Counter[str] = Counter()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def waiting(self) -> int:
        """Count the messages that nobody has taken yet."""
        return int(self._client.llen("oneapi:ingest"))

    def take(self) -> int:
        """Take what is there; tells of how many calls there is a record by now."""
        while raw := self._client.rpop("oneapi:ingest"):
            message: dict[str, Any] = msgspec.json.decode(raw)  # type: ignore[arg-type]  # redis-py types sync and async as one
            if datetime.fromisoformat(message["headers"]["expires"]) < datetime.now(UTC):
                continue
            journal, batch, records = read_message(message)
            self.batches.append(batch)
            for record in records:
                self._keep(record)
            if self.acking:
                self._acks.send(journal, batch)
        return len(self.records)

    def _keep(self, record: UsageRecord) -> None:
        self.times[record.request_id] += 1
        if self.records.setdefault(record.request_id, record) != record:
            self.contradictions.append(record.request_id)


def relay_environment(url: str, folder: Path, **settings: object) -> dict[str, str]:
    """Configure a relay of *folder*; *settings* are those of `relay:`."""
    return {
        "LLM_ONE_API__REDIS__URL": url,
        "LLM_ONE_API__JOURNAL__FOLDER": str(folder),
        **{f"LLM_ONE_API__RELAY__{name.upper()}": str(value) for name, value in settings.items()},
    }


class Relays:
    """Relays of one journal folder; they end with the block."""

    def __init__(self, folder: Path, url: str, env: Mapping[str, str] | None = None, **settings: object) -> None:
        """Let them carry *folder* to the broker at *url*; *env* is for what is not of `relay:`."""
        self._folder = folder
        self._env = {**relay_environment(url, folder, **settings), **(env or {})}
        self._started = ExitStack()
        self._count = 0

    def start(self, *options: str) -> Process:
        """Start one (more)."""
        self._count += 1
        name = f"relay-{self._count}"
        relay = Process(name, [*RELAY, *options], folder=self._folder.parent, env=self._env)
        self._started.callback(relay.kill)
        return relay

    def running(self, *options: str) -> Process:
        """Start one and wait until it is at work."""
        relay = self.start(*options)
        wait_until(lambda: "relay.started" in relay.text(), what="the relay has started")
        return relay

    def close(self) -> None:
        """Kill them all."""
        self._started.close()


class Writer:
    """A scripted writer and what it says it has done."""

    def __init__(self, journal: Path, script: Script) -> None:
        """Start it; what it says goes to files beside the journal's folder."""
        folder = journal.parent
        self.log = folder / f"{script.name}.log"
        options = msgspec.json.encode(script).decode()
        self.process = Process(
            f"writer-{script.name}",
            [sys.executable, "-m", "tests.harness.scripted_writer", journal, self.log, options],
            folder=folder,
        )

    def steps(self) -> int:
        """Tell about how many lines it has written, cheaply."""
        return self.log.stat().st_size // 12 if self.log.exists() else 0

    def lines(self) -> list[tuple[str, str, int]]:
        """Read what it has done."""
        parts = [line.split() for line in self.log.read_text().splitlines()]
        return [(what, call, int(number)) for what, call, number in parts]

    @property
    def finished(self) -> bool:
        """Tell whether it has come to the end of its script."""
        return self.log.exists() and "!" in self.log.read_text()[-40:]

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()


@contextmanager
def killed_in_the_end(*writers: Writer) -> Iterator[None]:
    """Kill writers when the block ends, if not before."""
    try:
        yield
    finally:
        for writer in writers:
            writer.kill()


def judge(writers: list[Writer], ingest: Ingest) -> Counter[str]:
    """Compare what came with what the writers did; gives the number of calls by outcome."""
    allowed: dict[str, set[tuple[str, int | None]]] = {}
    for writer in writers:
        for what, call, tokens in writer.lines():
            if what == "O":
                allowed[call] = {("nothing", None), ("aborted", None)}
            elif what == "o":
                allowed[call] = {("aborted", None)}
            elif what == "C":
                allowed[call] = {("aborted", None), ("success", tokens)}
            elif what == "c":
                allowed[call] = {("success", tokens)}
    came: dict[str, tuple[str, int | None]] = {
        call: (record.outcome, record.usage.total_tokens) for call, record in ingest.records.items()
    }
    wrong = {
        call: (expected, came.get(call))
        for call, expected in allowed.items()
        if came.get(call, ("nothing", None)) not in expected
    }
    assert not wrong, dict(list(wrong.items())[:5])
    assert set(came) <= set(allowed)
    assert not ingest.contradictions
    return Counter(outcome for outcome, _ in came.values())
