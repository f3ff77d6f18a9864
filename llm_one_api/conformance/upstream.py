"""The scripted upstream, over real sockets, with a ledger of its own: what it saw, and what it sent."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from llm_one_api.conformance.scripts import CASE, Pause, Script, Step

TOKEN = re.compile(rb"case-[a-z0-9-]+-[0-9a-f]{16}")
"""The name of an exchange: of letters that pass in a body, a form field and a path."""
PATIENCE = 20.0
"""Seconds that a script waits at most, for a case or for the gateway to hang up."""


@dataclass(eq=False)
class Exchange:
    """One request that the upstream saw, and what it sent."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    raw_head: bytes
    nth: int
    """Which request this is on its connection, from 1."""
    body: bytes = b""
    complete: bool = False
    status: int | None = None
    """None: it sent no head."""
    sent: int = 0
    """Bytes of the body that it sent."""
    first_at: float | None = None
    ended: str = ""
    """`clean`, `close`, `reset` as scripted; `hung up` by the gateway; "": not yet."""


@dataclass(eq=False)
class Account:
    """All that belongs to one name: the scripts to play, and the exchanges."""

    token: str
    scripts: tuple[Script, ...]
    exchanges: list[Exchange] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, seen: Callable[[Account], bool], seconds: float = PATIENCE) -> bool:
        """Wait until the upstream has seen something; False: it has not."""
        with self.changed:
            return self.changed.wait_for(lambda: seen(self), seconds)

    def note(self) -> None:
        """Say that something has changed."""
        with self.changed:
            self.changed.notify_all()


class Upstream:
    """Serves on a socket that it is handed. Each request plays the next script of its account, then the last again."""

    def __init__(self, listening: socket.socket) -> None:
        """Serve from now on."""
        self._listening = listening
        self._connections: set[socket.socket] = set()
        self._accounts: dict[bytes, Account] = {}
        self.strays = 0
        """Requests that belonged to no exchange."""
        threading.Thread(target=self._accept, daemon=True, name="upstream").start()

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self._listening.getsockname()[:2]
        return f"{host}:{port}"

    def open(self, token: str, scripts: tuple[Script, ...]) -> Account:
        """Be ready for the requests that bear *token*."""
        account = self._accounts[token.encode()] = Account(token, scripts)
        return account

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        for sock in (self._listening, *self._connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True, name="upstream").start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(sock)
        with sock, suppress(OSError):
            reader, nth = _Reader(sock), 1
            while self._exchange(sock, reader, nth):
                nth += 1
        self._connections.discard(sock)

    def _exchange(self, sock: socket.socket, reader: _Reader, nth: int) -> bool:
        """Read one request and play its script; tell whether the connection can be used again."""
        exchange = reader.head(nth)
        if exchange is None:
            return False
        account = self._find(exchange.raw_head)
        if account is not None:
            account.exchanges.append(exchange)
            account.note()
        for piece in reader.body(exchange.headers):
            exchange.body += piece
            if account is None:
                account = self._find(exchange.body)
                if account is not None:
                    account.exchanges.append(exchange)
            if account is not None:
                account.note()
        exchange.complete = True
        if account is None:
            self.strays += 1
            sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        account.note()
        number = account.exchanges.index(exchange)
        _Player(sock, account, exchange, account.scripts[min(number, len(account.scripts) - 1)]).play()
        account.note()
        return exchange.ended == "clean"

    def _find(self, text: bytes) -> Account | None:
        return next((self._accounts[token] for token in TOKEN.findall(text) if token in self._accounts), None)


class _Reader:
    """Reads requests off a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""

    def head(self, nth: int) -> Exchange | None:
        """Read a request's head; None: the connection has ended."""
        while b"\r\n\r\n" not in self._data:
            if not self._more():
                return None
        raw, _, self._data = self._data.partition(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        return Exchange(method, path, headers, raw, nth)

    def body(self, headers: dict[str, str]) -> Iterator[bytes]:
        """Give the body as it comes."""
        if "chunked" in headers.get("transfer-encoding", ""):
            yield from self._chunks()
            return
        left = int(headers.get("content-length", "0"))
        while left > 0:
            if not self._data and not self._more():
                raise ConnectionError
            piece, self._data = self._data[:left], self._data[left:]
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = int(self._line(), 16)
            while len(self._data) < size + 2:
                if not self._more():
                    raise ConnectionError
            piece, self._data = self._data[:size], self._data[size + 2 :]
            if not size:
                return
            yield piece

    def _line(self) -> bytes:
        while b"\r\n" not in self._data:
            if not self._more():
                raise ConnectionError
        line, _, self._data = self._data.partition(b"\r\n")
        return line

    def _more(self) -> bool:
        piece = self._sock.recv(1 << 18)
        self._data += piece
        return bool(piece)


class _Player:
    """Plays one script on a connection."""

    def __init__(self, sock: socket.socket, account: Account, exchange: Exchange, script: Script) -> None:
        self._sock = sock
        self._account = account
        self._exchange = exchange
        self._script = script

    def play(self) -> None:
        """Send what is scripted, and note how it ended."""
        script, exchange = self._script, self._exchange
        try:
            for step in script.before:
                self._wait(step)
            if script.head:
                exchange.status = script.status
                self._sock.sendall(self._head())
            for step in script.steps:
                if isinstance(step, bytes):
                    self._send(step.replace(CASE, self._account.token.encode()))
                else:
                    self._wait(step)
            self._end()
        except OSError:
            exchange.ended = exchange.ended or "hung up"

    def _head(self) -> bytes:
        script = self._script
        lines = [f"HTTP/1.1 {script.status} Scripted", *(f"{name}: {value}" for name, value in script.headers)]
        lines.append(f"{script.id_header}: up-{self._account.token}")
        if script.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif script.framing == "length":
            lines.append(f"Content-Length: {len(script.body.replace(CASE, self._account.token.encode()))}")
        else:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _send(self, data: bytes) -> None:
        if self._exchange.first_at is None:
            self._exchange.first_at = time.monotonic()
        self._sock.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._script.framing == "chunked" else data)
        self._exchange.sent += len(data)
        self._account.note()

    def _wait(self, step: Step) -> None:
        """Wait as *step* says. Raises OSError if the gateway hangs up meanwhile."""
        until = time.monotonic() + (step.seconds if isinstance(step, Pause) else PATIENCE)
        while time.monotonic() < until:
            if not isinstance(step, Pause) and self._account.released.is_set():
                return
            if self._hung_up(min(0.05, max(0.0, until - time.monotonic()))):
                raise ConnectionError

    def _end(self) -> None:
        script, exchange = self._script, self._exchange
        if script.end == "wait":
            exchange.ended = "hung up" if self._hung_up(PATIENCE) else "waited in vain"
            return
        if script.end == "clean" and script.framing == "chunked":
            self._sock.sendall(b"0\r\n\r\n")
        if script.end == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.ended = "close" if script.framing == "close" and script.end == "clean" else script.end

    def _hung_up(self, seconds: float) -> bool:
        """Wait so long for the gateway to hang up; tell whether it has. Bytes that come are not looked at."""
        self._sock.settimeout(seconds or 0.001)
        try:
            return not self._sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self._sock.settimeout(None)
