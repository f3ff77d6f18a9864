"""The whole product, run by `llm-one-api up` in a folder of its own, as a user has it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.harness.processes import BIN, Process, free_port, wait_until

KEY = "sk-test-admin-key-0001"
OTHER_KEY = "sk-test-other-key-0002"


class Product:
    """A running `llm-one-api up`."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        python: Path | str = sys.executable,
        *,
        env: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """Run it by *python*, with *env* in its environment, *within* a command that runs the one that follows it."""
        self.python = python
        self.env = env
        self.within = within
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(config))
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger_url(self) -> str:
        """Where its ledger is, if it is an SQLite file."""
        return f"sqlite:///{self.folder}/data/ledger.db"

    def start(self) -> None:
        argv: list[str | Path] = [
            *self.within,
            self.python,
            "-m",
            "llm_one_api.cli",
            "up",
            "--config",
            self.config,
            "--port",
            str(self.port),
        ]
        self.process = Process("up", argv, folder=self.folder, env=self.env)
        wait_until(self._said_hello, timeout=60, what="up says where it answers")

    def _said_hello(self) -> bool:
        assert self.process is not None
        assert self.process.alive, self.process.text()[-3000:]
        return "A first call" in self.process.text()

    def stop(self) -> int:
        """Stop it as Ctrl-C does."""
        assert self.process is not None
        self.process.signal(signal.SIGINT)
        return self.process.popen.wait(30)

    def close(self) -> None:
        if self.process is not None:
            family = self.family() if self.process.alive else []
            self.process.kill()
            psutil.wait_procs(family, timeout=10)

    def family(self) -> list[psutil.Process]:
        """All processes of it."""
        assert self.process is not None
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def part(self, *words: str) -> list[psutil.Process]:
        """Those whose command line has all *words*, oldest first."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if all(word in line for word in words) and process.cwd() == str(self.folder.resolve()):
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda p: p.create_time())

    def call(self, path: str = "/v1/chat/completions", *, key: str = KEY, **body: Any) -> requests.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], **body}
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(self.url + path, json=body, headers=headers, timeout=30)

    def get(self, path: str, key: str = KEY) -> Any:
        return requests.get(self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=10).json()

    def newest(self, key: str = KEY) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/v1/stats?limit=500", key)["newest"]
        return found

    def record(self, request_id: str, timeout: float = 20.0) -> dict[str, Any]:
        """Wait until the ledger has the record of a call."""
        return wait_until(
            lambda: next((r for r in self.newest() if r["request_id"] == request_id), None),
            timeout=timeout,
            what=f"{request_id} is in the statistics",
        )


def config(upstream: str, **more: Any) -> dict[str, Any]:
    """A config with one model `m`, whose upstream is at *upstream*."""
    keys = [{"key": KEY, "user": "alice", "admin": True}, {"key": OTHER_KEY, "user": "bob", "models": ["m"]}]
    return {
        "auth": {"default_auth": {"api_keys": keys}},
        "models": {"m": {"api_base": upstream, "api_key": "sk-upstream-secret-0009", "upstream_model": "demo"}},
        "stats": {"log": {"format": "json"}},
        # A worker that is killed holds its plugin's lease until it runs out.
        "delivery": {"lease": 6, "call_timeout": 1.4},
        **more,
        # Not two: each takes more than a second to start.
        "server": {"workers": 1, **more.get("server", {})},
    }


@contextmanager
def product(folder: Path, settings: Mapping[str, Any]) -> Iterator[Product]:
    """Run it for the length of a block."""
    running = Product(folder, settings)
    try:
        running.start()
        yield running
    finally:
        running.close()


@contextmanager
def demo_upstream(folder: Path) -> Iterator[str]:
    """Run the demo upstream by itself; gives its base URL."""
    port = free_port()
    argv: list[str | Path] = [BIN / "llm-one-api", "demo-upstream", "--port", str(port)]
    process = Process("demo", argv, folder=folder)
    try:
        wait_until(lambda: _answers(port), what="the demo upstream answers")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v1/models", timeout=1).status_code < 500
    except requests.RequestException:
        return False
