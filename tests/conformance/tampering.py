"""A gateway that is wrong: the right one, with something between it and its callers that changes what they see."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Seen(NamedTuple):
    """An answer on its way."""

    path: str
    status: int
    body: bytes


Tamper = Callable[[Seen], Seen]
_OF_THE_CONNECTION = {"connection", "content-length", "transfer-encoding", "server", "date"}


@contextmanager
def tampered(url: str, tamper: Tamper) -> Iterator[str]:
    """Stand before the gateway at *url* for the length of a block; give where."""
    target = urlsplit(url)

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass(b"")

        def do_POST(self) -> None:
            self._pass(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass(self, body: bytes) -> None:
            there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=20)
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            seen = tamper(Seen(self.path, answer.status, answer.read()))
            there.close()
            self.send_response(seen.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_THE_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(seen.body)))
            self.end_headers()
            self.wfile.write(seen.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Between) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
