"""The caller: HTTP over sockets, with every byte that came, and with a way to leave at any point."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""Seconds that the caller waits for a byte."""


@dataclass(eq=False)
class Reply:
    """What the caller got."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""
    clean: bool = True
    """Whether the message came to its end, and was not broken off."""
    sent_at: float = 0.0
    """When the request began to be sent."""
    first_at: float | None = None
    """When the first byte of the body was there."""
    ended_at: float = 0.0

    @property
    def request_id(self) -> str | None:
        """The record's id."""
        return self.headers.get("x-request-id")

    @property
    def json(self) -> Any:
        """The body as JSON; None: it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def events(self) -> list[Any]:
        """What the events of a stream say: JSON, or the text where it is none."""
        found = []
        for block in self.body.replace(b"\r\n", b"\n").split(b"\n\n"):
            lines = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                text = b"\n".join(lines)
                try:
                    found.append(json.loads(text))
                except ValueError:
                    found.append(text.decode("utf-8", "replace"))
        return found


class Line:
    """One connection to the gateway."""

    def __init__(self, url: str) -> None:
        """Connect when needed."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        self._connection = (
            http.client.HTTPSConnection(host, port, timeout=TIMEOUT)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        )
        self._prefix = parts.path.rstrip("/")
        self._response: http.client.HTTPResponse | None = None
        self._reply: Reply | None = None
        self._sent_at = 0.0

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Iterable[bytes]) -> None:
        """Send a request; *body* comes in pieces, each sent when it is given."""
        connection = self._connection
        self._sent_at = time.monotonic()
        connection.putrequest(method, self._prefix + path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        for piece in body:
            connection.send(piece)

    def head(self) -> Reply:
        """Wait for the answer's head."""
        if self._reply is None:
            response = self._response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            self._reply = Reply(status=response.status, headers=headers, sent_at=self._sent_at)
        return self._reply

    def read(self, enough: Callable[[bytes], bool] = lambda _: False) -> Reply:
        """Read the answer to its end, or until *enough* of it is there."""
        reply = self.head()
        response = self._response
        if response is None:  # it was read already
            return reply
        try:
            while not enough(reply.body):
                piece = response.read1(1 << 20)
                if not piece:
                    reply.clean = not response.length
                    if reply.clean:
                        response.read()  # so that the connection can be used again
                    self._response = None
                    break
                if reply.first_at is None:
                    reply.first_at = time.monotonic()
                reply.body += piece
        except (http.client.HTTPException, OSError):
            reply.clean = False
            self.hang_up()
        reply.ended_at = time.monotonic()
        return reply

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection, with a FIN as programs do, or with a RST."""
        sock = self._connection.sock
        response, self._response = self._response, None
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if response is not None:
            response.close()
        self._connection.close()

    def again(self) -> None:
        """Be ready for the next request, over the same connection if the gateway keeps it."""
        self._reply = self._response = None


@dataclass(frozen=True)
class Ask:
    """One request, to be sent as often as wanted. `$CASE` in it becomes the name of the exchange."""

    path: str
    body: bytes = b""
    method: str = "POST"
    model: str | None = None
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
