"""The parts of an installation, each started by itself as in production, by the commands that the README gives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from llm_one_api.stores.journal.lock import relay_pid
from tests.harness.databases import give_tables
from tests.harness.processes import BIN, ROOT, Process, free_port, wait_until


class Parts:
    """Those that a test has started, in a folder of their own."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger_url = f"sqlite:///{folder}/data/ledger.db"
        self.journal = folder / "data" / "journal"
        path = folder / "config.yaml"
        path.write_text(json.dumps({**config, "server": {"workers": 1, **config.get("server", {}), "port": self.port}}))
        # The gateway's relay outlives the gateway, and must not outlive the test run.
        self._lifeline, self._our_end = os.pipe()
        self._env = {"LLM_ONE_API_CONFIG": str(path), "LLM_ONE_API_LIFELINE": str(self._lifeline)}
        self._started: list[Process] = []

    def tables(self) -> None:
        """Make the ledger's tables."""
        give_tables(self.folder / "data" / "ledger.db")

    def gateway(self) -> Process:
        """Start gunicorn, and wait until it answers and has a relay."""
        it = self._start("gunicorn", "-c", ROOT / "config" / "gunicorn.conf.py", "wsgi:application")
        wait_until(lambda: self._answers(it) and self.relay(), timeout=40, what="the gateway answers and has a relay")
        return it

    def worker(self, queues: str, name: str | None = None) -> Process:
        """Start a Celery worker, named after its queues if not otherwise."""
        return self._start("celery", "-A", "workers.celery_app", "worker", "-Q", queues, "-n", f"{name or queues}@%h")

    def relay(self) -> int | None:
        """Tell the process id of the relay, if there is one now."""
        return relay_pid(self.journal)

    def close(self) -> None:
        """End all of them."""
        os.close(self._our_end)
        for each in self._started:
            each.kill()
        wait_until(lambda: self.relay() is None, what="the relay has ended with the others")
        os.close(self._lifeline)

    def _start(self, command: str, *rest: str | Path) -> Process:
        name = f"{command}-{len(self._started)}"
        it = Process(name, [BIN / command, *rest], folder=self.folder, env=self._env, pass_fds=[self._lifeline])
        self._started.append(it)
        return it

    def _answers(self, gateway: Process) -> bool:
        assert gateway.alive, gateway.text()[-3000:]
        try:
            return requests.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except requests.RequestException:
            return False


@contextmanager
def parts(folder: Path, config: Mapping[str, Any]) -> Iterator[Parts]:
    """Run what the block starts until it ends."""
    it = Parts(folder, config)
    try:
        yield it
    finally:
        it.close()
