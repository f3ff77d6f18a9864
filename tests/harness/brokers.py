"""The brokers that the contract is about, each behind a door: Valkey, and RabbitMQ where the environment names one."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from celery import Celery

from llm_one_api.broker import QUEUES, sender
from tests.harness.doors import Door
from tests.harness.processes import BIN, Process, wait_until
from tests.harness.services import Valkey

RABBITMQ_URL = os.environ.get("TEST_AMQP_URL")
"""A RabbitMQ, with a virtual host that only these tests use: they empty its queues."""
NAMES = ["valkey", *(["rabbitmq"] if RABBITMQ_URL else [])]
PREFIX = "oneapi:"


@dataclass
class Broker:
    """One of them."""

    url: str
    """Through the door."""
    redis_url: str
    """Where acks are, past the door."""
    door: Door
    _app: Celery

    def purge(self) -> None:
        """Empty all queues, as an operator may, past the door."""
        with self._app.connection_for_write() as connection:
            for name in QUEUES:
                queue = self._app.amqp.queues[name].bind(connection.default_channel)
                queue.queue_declare()
                queue.purge()

    def take(self, queue: str) -> Any:
        """Take a message as it stands in *queue*; None: it is empty."""
        with self._app.connection_for_write() as connection:
            return self._app.amqp.queues[queue].bind(connection.default_channel).get(no_ack=True)

    @contextmanager
    def sender(self) -> Iterator[Celery]:
        """Have an application that sends through the door, for the length of a block."""
        app = sender(self.url, PREFIX)
        try:
            yield app
        finally:
            app.close()


@contextmanager
def broker(name: str, valkey: Valkey) -> Iterator[Broker]:
    """Have one for the length of a block, its queues empty; *valkey* is where the acks are too."""
    with tempfile.TemporaryDirectory(prefix="door-", dir="/tmp") as folder:
        if name == "valkey":
            inner, url = valkey.url, f"unix://{folder}/s"
            door = Door(lambda: _unix_listener(Path(folder) / "s"), lambda: _unix(valkey.socket))
        else:
            assert RABBITMQ_URL is not None
            inner, port = RABBITMQ_URL, _free_port()
            parts = urlsplit(inner)
            login, at, _ = parts.netloc.rpartition("@")
            url = urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{port}"))
            door = Door(
                lambda: socket.create_server(("127.0.0.1", port)),
                lambda: socket.create_connection((parts.hostname, parts.port or 5672), timeout=10),
            )
        app = sender(inner, PREFIX)
        it = Broker(url, valkey.url, door, app)
        it.purge()
        try:
            yield it
        finally:
            door.close()
            it.purge()
            app.close()


@contextmanager
def ingest_worker(folder: Path, config: dict[str, Any]) -> Iterator[Process]:
    """Run a Celery worker with one process for the queue `ingest`, for the length of a block."""
    folder.mkdir(parents=True)
    settings, ready = folder / "config.yaml", folder / "ready"
    settings.write_bytes(msgspec.json.encode(config))
    worker = Process(
        "worker",
        [
            *(BIN / "celery", "-A", "workers.celery_app", "--quiet", "worker", "-Q", "ingest", "-c", "1"),
            *("-n", f"{folder.name}@%h", "-l", "WARNING", "-I", "workers.supervised"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        folder=folder,
        env={"LLM_ONE_API_CONFIG": str(settings), "LLM_ONE_API_READY_FILE": str(ready)},
    )
    try:
        wait_until(lambda: ready.exists() or not worker.alive, timeout=60, what="the worker takes tasks")
        assert worker.alive, worker.text()[-3000:]
        yield worker
    finally:
        worker.kill()


def _unix(path: Path) -> socket.socket:
    it = socket.socket(socket.AF_UNIX)
    it.connect(str(path))
    return it


def _unix_listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    it = socket.socket(socket.AF_UNIX)
    it.bind(str(path))
    it.listen(64)
    return it


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as it:
        port: int = it.getsockname()[1]
    return port
