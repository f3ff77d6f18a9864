"""Connections to upstreams: made, kept while nobody uses them, closed when that takes long."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import certifi

from llm_one_api.gateway.http import Connection

IDLE_SECONDS = 30.0
"""How long an unused connection is kept: under the idle limits that servers and load balancers have."""
ADDRESS_SECONDS = 30.0
"""How long a name's addresses are used before they are looked up again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an upstream listens."""

    host: str
    port: int
    tls: bool
    path: str
    """What stands before an endpoint's path, without a slash at its end."""

    @classmethod
    def of(cls, url: str) -> Origin:
        """Read it from a base URL."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return cls(
            host=parts.hostname or "", port=parts.port or (443 if tls else 80), tls=tls, path=parts.path.rstrip("/")
        )

    @property
    def host_header(self) -> str:
        """The `Host` header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@cache
def _tls_context() -> ssl.SSLContext:
    """Trust the system's certificate authorities and Mozilla's; made once a process, it takes 20 ms."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """The connections to one origin. Not bounded: `server.max_streams` bounds the calls."""

    def __init__(self, origin: Origin) -> None:
        """Open nothing yet."""
        self.origin = origin
        self._idle: deque[Connection] = deque()
        self._addresses: list[tuple[int, tuple[str, int]]] = []
        self._looked_up = 0.0

    def take_idle(self) -> Connection | None:
        """Give the connection that was used last and is still good, if there is one."""
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < IDLE_SECONDS and connection.still_good():
                connection.renew()
                return connection
            connection.close()
        return None

    def connect(self, timeout: float) -> Connection:
        """Open a new connection, within *timeout* seconds for all addresses together.

        Raises OSError (ssl.SSLError, TimeoutError).
        """
        error: OSError | None = None
        end = time.monotonic() + timeout
        addresses = self._resolve()
        for number, (family, address) in enumerate(addresses):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.05, (end - time.monotonic()) / (len(addresses) - number)))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.origin.tls:
                    sock = _tls_context().wrap_socket(sock, server_hostname=self.origin.host)
                sock.settimeout(None)
            except OSError as failed:
                sock.close()
                error = failed
                self._looked_up = 0.0
                continue
            except BaseException:
                sock.close()
                raise
            return Connection(sock)
        raise error or OSError("no address")

    def _resolve(self) -> list[tuple[int, tuple[str, int]]]:
        """Look the name up, now and then; while that fails, what was found before is used."""
        now = time.monotonic()
        if not self._addresses or now - self._looked_up > ADDRESS_SECONDS:
            try:
                found = socket.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM)
            except OSError:
                if not self._addresses:
                    raise
            else:
                self._addresses = [(int(family), (str(a[0]), int(a[1]))) for family, _, _, _, a in found]
            self._looked_up = now
        return self._addresses

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for the next call if it can carry one, else close it."""
        if not connection.reusable():
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def close_idle(self) -> None:
        """Close the connections that nobody has used for `IDLE_SECONDS`."""
        now = time.monotonic()
        while self._idle and now - self._idle[0].idle_since >= IDLE_SECONDS:
            self._idle.popleft().close()
