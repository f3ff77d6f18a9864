"""Where alerts go: an HTTP receiver that answers as it is told, and an SMTP server. Both real, in threads."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller

from tests.harness.processes import free_port


class Received(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers each request with the next of its *answers*, or 200 when there is none left.

    `HANG` says nothing at all, `DRIP` sends a byte of an endless head now and then, until the receiver is closed.
    """

    HANG, DRIP = -1, -2

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen at once; by *tls*, if that is given."""
        self.got: list[Received] = []
        self.answers: list[int] = []
        self._end = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Received(self.path, headers, body))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer == Receiver.HANG:
                    receiver._end.wait(60)
                elif answer == Receiver.DRIP:
                    self._drip()
                else:
                    self.send_response(answer)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def _drip(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
                while not receiver._end.wait(0.2):
                    self.wfile.write(b"x")
                    self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who was cut off in the middle
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}/hook"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._serving.start()

    def close(self) -> None:
        """End it, and whoever hangs on it."""
        self._end.set()
        self._server.shutdown()
        self._serving.join(10)
        self._server.server_close()


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    it = Receiver(tls)
    try:
        yield it
    finally:
        it.close()


class Mailbox:
    """What an SMTP server has taken, and what it says to whom it does not take."""

    def __init__(self) -> None:
        """Take everything."""
        self.got: list[Message] = []
        self.refuses: str | None = None
        self.port = 0

    async def handle_DATA(  # noqa: N802 (aiosmtpd's)
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        """Take a letter."""
        if self.refuses is not None:
            return self.refuses
        self.got.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def mailbox(tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    it = Mailbox()
    it.port = free_port()
    controller = Controller(it, hostname="127.0.0.1", port=it.port, ssl_context=tls)
    controller.start()
    try:
        yield it
    finally:
        controller.stop()
