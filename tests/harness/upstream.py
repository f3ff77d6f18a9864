"""An upstream over real sockets whose answers a test scripts, byte by byte."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Script = Callable[["Conversation"], None]


class Conversation:
    """One request, and the means to answer it."""

    def __init__(self, sock: socket.socket, head: bytes, body: bytes) -> None:
        self._sock = sock
        self.head = head
        self.body = body
        self.go = threading.Event()
        self.closed = threading.Event()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def reset(self) -> None:
        """End the connection with a RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def wait_closed(self, timeout: float = 20.0) -> bool:
        """Wait until the gateway has closed the connection; tell whether it has, within *timeout* seconds."""
        self._sock.settimeout(timeout)
        try:
            if self._sock.recv(1) != b"":
                return False
        except TimeoutError:
            return False
        except OSError:
            pass  # a reset is a close too
        self.closed.set()
        return True


class Upstream:
    """Answers each request with the script that stands first, the last one for all that follow."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        """Serve at once, over *tls* if it is given; *host* is how the upstream is named in `url`."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}/v1"
        self._tls = tls
        self.connections = 0
        """Those that were accepted so far."""
        self.scripts: list[Script] = [json_answer(200, CHAT)]
        self.seen: list[Conversation] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def answer(self, *scripts: Script) -> None:
        """Answer with these from now on."""
        self.scripts = list(scripts)
        self.seen = []

    def close(self) -> None:
        # A thread that waits in `accept` would go on with whatever is opened next under the same number.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                self._talk(plain)
            else:
                plain.getpeername()  # of one that has left by now, `wrap_socket` would leave a socket open
                with self._tls.wrap_socket(plain, server_side=True) as sock:
                    self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while request := read_request(sock):
                talk = Conversation(sock, *request)
                self.seen.append(talk)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                script(talk)


def read_request(sock: socket.socket) -> tuple[bytes, bytes] | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return head, _read_chunks(sock, body)
    length = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
    whole = bytearray(body)
    while len(whole) < length:
        whole += _more(sock)
    return head, bytes(whole)


def _read_chunks(sock: socket.socket, data: bytes) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in data:
            data += _more(sock)
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        while len(data) < length + 2:
            data += _more(sock)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            return body


def _more(sock: socket.socket) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise ConnectionResetError
    return piece


CHAT = (
    b'{"id":"c1","object":"chat.completion","created":1,"model":"demo-2026","service_tier":"default",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":50,"completion_tokens":120,"total_tokens":170,"prompt_tokens_details":{"cached_tokens":7}}}'
)


def json_answer(status: int, body: bytes, headers: bytes = b"") -> Script:
    """Answer in one piece."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        len(body),
        headers,
    )
    return lambda talk: talk.send(head + body)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def delta(text: str) -> bytes:
    return (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"demo-2026",'
        b'"choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"},"finish_reason":null}],"usage":null}\n\n'
    )


FINISH = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"demo-2026",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
)
USAGE = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"demo-2026","choices":[],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*events: bytes, end: bool = True, head: bytes = STREAM_HEAD) -> Script:
    """Answer with a chunked stream, or go on with one."""
    return lambda talk: talk.send(head + b"".join(map(chunk, events)) + (b"0\r\n\r\n" if end else b""))


def waits_for_go(talk: Conversation) -> None:
    """Begin a stream, and end it when the test says `go`."""
    talk.send(STREAM_HEAD + chunk(delta("a")))
    if talk.go.wait(20):
        stream(delta("b"), FINISH, USAGE, DONE, head=b"")(talk)


@contextmanager
def scripted(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Upstream]:
    """Run one for the length of a block."""
    upstream = Upstream(tls, host)
    try:
        yield upstream
    finally:
        upstream.close()
