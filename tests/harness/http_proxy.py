"""An HTTP proxy over real sockets: tunnels, and requests in the absolute form. It can be told to misbehave."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from tests.harness.upstream import read_request

WHO_ARE_YOU = b"HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"


class HttpProxy:
    """Serves whoever connects, in threads; `answer` says what is answered instead of doing what is asked."""

    def __init__(self, credentials: str = "") -> None:
        """Serve at once; with *credentials* (`user:password`) only those who have them."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._credentials = b"Basic " + b64encode(credentials.encode()) if credentials else b""
        self.answer: bytes | None = None
        """Sent instead; empty: nothing, and the connection stays open."""
        self.heads: list[bytes] = []
        """Of the requests that it was sent."""
        self.connections = 0
        self._held: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        for sock in self._held:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._held.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), ExitStack() as opened:
            upstream: socket.socket | None = None
            while request := read_request(client):
                head, body = request
                self.heads.append(head)
                if self.answer is not None:
                    client.sendall(self.answer)
                    client.recv(0 if self.answer else 1)
                    return
                if self._credentials and b"Proxy-Authorization: " + self._credentials not in head.split(b"\r\n"):
                    client.sendall(WHO_ARE_YOU)
                elif head.startswith(b"CONNECT "):
                    _tunnel(client, head.split(b" ")[1].decode())
                    return
                else:
                    if upstream is None:
                        upstream = opened.enter_context(_connected(urlsplit(head.split(b" ")[1].decode()).netloc))
                        threading.Thread(target=_pump, args=(upstream, client), daemon=True).start()
                    upstream.sendall(_own_form(head, body) + body)


def _connected(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=20)


def _tunnel(client: socket.socket, place: str) -> None:
    with _connected(place) as upstream:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=_pump, args=(upstream, client), daemon=True).start()
        _pump(client, upstream)


def _own_form(head: bytes, body: bytes) -> bytes:
    """Write a head as the upstream gets it: without what was for the proxy."""
    line, *headers = head.split(b"\r\n")
    method, target, _ = line.split(b" ")
    dropped = (b"proxy-", b"transfer-encoding:", b"content-length:")
    kept = [header for header in headers if not header.lower().startswith(dropped)]
    lines = [b"%b %b HTTP/1.1" % (method, urlsplit(target).path), *kept, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def http_proxy(credentials: str = "") -> Iterator[HttpProxy]:
    """Run one for the length of a block."""
    proxy = HttpProxy(credentials)
    try:
        yield proxy
    finally:
        proxy.close()
