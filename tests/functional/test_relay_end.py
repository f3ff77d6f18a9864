"""gunicorn stops, and nobody runs it: the relay that it has started sends the last records before gunicorn is gone."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from llm_one_api.stores.journal.lock import relay_pid
from tests.harness.gateway import settings
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.product import KEY
from tests.harness.relays import Ingest, Relays
from tests.harness.services import Valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        it.answer(json_answer(200, CHAT))
        yield it


class Gunicorn:
    """A gunicorn that is on its own, as in a container."""

    def __init__(self, folder: Path, upstream: Upstream, redis_url: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.journal = folder / "data" / "journal"
        config = folder / "config.yaml"
        config.write_text(json.dumps({**settings(upstream.url, port=port), "redis": {"url": redis_url}}))
        argv: list[str | Path] = [BIN / "gunicorn", "-c", "python:llm_one_api.web.gunicorn_conf", "wsgi:application"]
        self.process = Process("gunicorn", argv, folder=folder, env={"LLM_ONE_API_CONFIG": str(config)})

    def call(self) -> str:
        body = {"model": "m", "messages": []}
        answer = requests.post(
            f"{self.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=10
        )
        assert answer.status_code == 200
        return answer.headers["x-request-id"]

    def ready(self) -> bool:
        assert self.process.alive, self.process.text()[-3000:]
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        return False


@contextmanager
def gunicorn(folder: Path, upstream: Upstream, redis_url: str) -> Iterator[Gunicorn]:
    it = Gunicorn(folder, upstream, redis_url)
    try:
        wait_until(lambda: it.ready() and relay_pid(it.journal), timeout=40, what="it answers and has a relay")
        yield it
    finally:
        it.process.kill()
        if left := relay_pid(it.journal):
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        wait_until(lambda: relay_pid(it.journal) is None, what="no relay is left")


def test_it_is_asked_to_end_and_waited_for(
    upstream: Upstream, tmp_path: Path, session_valkey: Valkey, redis_url: str
) -> None:
    ingest, enough = Ingest(session_valkey), threading.Event()

    def work() -> None:
        while not enough.wait(0.02):
            ingest.take()

    worker = threading.Thread(target=work, daemon=True)
    try:
        with gunicorn(tmp_path, upstream, redis_url) as it:
            made = [it.call() for _ in range(3)]
            it.process.signal(signal.SIGTERM)
            worker.start()
            it.process.popen.wait(30)
            relay_left = relay_pid(it.journal)
            text = it.process.text()
    finally:
        enough.set()
        worker.join(10)
        ingest.close()

    assert relay_left is None
    assert "unacked=0" in text.split("relay.stopped")[1].splitlines()[0]
    assert set(ingest.records) == set(made)


def test_one_that_somebody_else_runs_goes_on(upstream: Upstream, tmp_path: Path, redis_url: str) -> None:
    relays = Relays(tmp_path / "data" / "journal", redis_url)
    try:
        relay = relays.running()
        with gunicorn(tmp_path, upstream, redis_url) as it:
            it.process.signal(signal.SIGTERM)
            it.process.popen.wait(30)

            assert relay_pid(it.journal) == relay.pid
            relay.stop()
    finally:
        relays.close()
