"""The gateway's gunicorn by itself: no relay, no workers; what it records is read from its journal."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from llm_one_api.stores.journal.entries import Closed, Opened
from llm_one_api.stores.journal.lock import take_relay_lock
from llm_one_api.values import UsageRecord
from tests.harness.calls import entries
from tests.harness.databases import give_tables
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.product import KEY, config


class Gateway:
    """A running gunicorn on a loopback port."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.journal = folder / "data" / "journal"
        self._settings = settings
        self._config = folder / "config.yaml"
        self._env = dict(env or {})
        self.port = 0
        self._process: Process | None = None
        # Who holds it is the folder's relay, so the gateway spawns none.
        self._relay_lock = take_relay_lock(self.journal)

    def start(self) -> None:
        """Start it; on another port if somebody took the free one first."""
        give_tables(self.folder / "data" / "ledger.db")
        for number in range(5):
            self.port = free_port()
            self.change()
            argv: list[str | Path] = [
                BIN / "gunicorn",
                "-c",
                "python:llm_one_api.web.gunicorn_conf",
                "wsgi:application",
            ]
            env = {"LLM_ONE_API_CONFIG": str(self._config), **self._env}
            self._process = Process(f"gunicorn{number}", argv, folder=self.folder, env=env)
            if wait_until(self._settled, timeout=30, what="the gateway answers") == "answers":
                return
        raise AssertionError(self.output)

    def change(self, **sections: Any) -> None:
        """Write the config file, with other *sections* than at first."""
        server = {"workers": 1, **self._settings.get("server", {}), "port": self.port}
        redis = self._settings.get("redis", {"url": f"unix://{self.folder}/no-redis"})
        self._config.write_text(json.dumps({**self._settings, "server": server, "redis": redis, **sections}))

    def _settled(self) -> str:
        if "Connection in use" in self.process.text():
            self.process.kill()
            return "port taken"
        assert self.process.alive, self.process.text()[-3000:]
        try:
            requests.get(f"{self.url}/health/live", timeout=1)
        except requests.RequestException:
            return ""
        return "answers"

    def close(self) -> None:
        if self._process:
            self._process.kill()
        if self._relay_lock is not None:
            os.close(self._relay_lock)
            self._relay_lock = None

    @property
    def process(self) -> Process:
        """The gunicorn master."""
        assert self._process, "it was started"
        return self._process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All that its processes have printed."""
        return self.process.text()

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return found

    def connections(self) -> int:
        """Count the callers' connections that its processes hold."""
        found = [c for worker in self.workers() for c in worker.net_connections("tcp")]
        return len([c for c in found if c.raddr and c.laddr.port == self.port])

    def refuses(self) -> bool:
        """Tell whether nobody listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    # -- the journal --

    def records(self) -> list[UsageRecord]:
        """What is on disk now: finished calls, in order."""
        return [entry.record for entry in entries(self.journal) if isinstance(entry, Closed)]

    def record(self, request_id: str) -> UsageRecord:
        """Wait for the record of a call; there must be one only."""
        found = wait_until(
            lambda: [r for r in self.records() if r.request_id == request_id], timeout=8, what=f"{request_id}'s record"
        )
        assert len(found) == 1
        return found[0]

    def record_of(self, end_user: str) -> UsageRecord:
        """Wait for the record of the call whose body had this `user`; there must be one only."""
        found = wait_until(
            lambda: [r for r in self.records() if r.end_user == end_user], timeout=8, what=f"{end_user}'s record"
        )
        assert len(found) == 1
        return found[0]

    def opened(self) -> list[Opened]:
        return [entry for entry in entries(self.journal) if isinstance(entry, Opened)]

    # -- calls --

    def post(self, path: str = "/v1/chat/completions", *, key: str = KEY, **body: Any) -> requests.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
        return requests.post(self.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def ask(self, method: str, path: str, *, key: str = KEY) -> requests.Response:
        return requests.request(method, self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def connect(self, *, buffer: int | None = None, timeout: float = 15) -> socket.socket:
        """Open a connection; *buffer*: one that takes only so many bytes while nobody reads."""
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def exchange(
        self,
        *headers: bytes,
        line: bytes = b"POST /v1/chat/completions HTTP/1.1",
        key: bytes | None = KEY.encode(),
        body: bytes = b"",
        end: bool = False,
    ) -> bytes:
        """Send a request as it stands and read to the connection's end; *end*: without having to be asked for more."""
        lines = [line, b"Host: x", b"Connection: close", *headers]
        if key is not None:
            lines.append(b"Authorization: Bearer " + key)
        with self.connect() as sock:
            with suppress(OSError):  # it may be refused before it has been read
                sock.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
                if end:
                    sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def begin(self, *, buffer: int | None = None, **body: Any) -> socket.socket:
        """Send a chat call over a connection of the test's own."""
        sock = self.connect(buffer=buffer)
        sock.sendall(request(json.dumps({"model": "m", "messages": [], **body}).encode()))
        return sock


def request(body: bytes, *, key: str = KEY, headers: bytes = b"", length: int | None = None) -> bytes:
    """Write a chat request."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n%b\r\n%b"
        % (key.encode(), len(body) if length is None else length, headers, body)
    )


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = sock.recv(65536)
        assert piece, f"ended before {end!r}: {data!r}"
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    """Read to the connection's end; a reset is one too."""
    data = b""
    while True:
        try:
            piece = sock.recv(1 << 20)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def id_of(head: bytes) -> str:
    return next(x.split(b": ")[1].decode() for x in head.split(b"\r\n") if x.lower().startswith(b"x-request-id"))


def settings(upstream: str, model: Mapping[str, Any] | None = None, **server: Any) -> dict[str, Any]:
    """A config with one model, `m`; its upstream's deadlines and the server's bounds as told."""
    made = config(upstream, server=server)
    made["models"]["m"].update(model or {})
    return made


@contextmanager
def gateway(folder: Path, made: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Run it for the length of a block."""
    it = Gateway(folder, made, env)
    try:
        it.start()
        yield it
    finally:
        it.close()
