"""An HTTP/1.1 client for the hot path: parsed in C (httptools), over gevent's sockets, as data arrives.

Why not a library: measured, `requests` holds back the events of close-delimited streams and costs 1,270 µs CPU a
call, urllib3 780 µs and 38 µs an event, geventhttpclient 400 to 580 µs; this one costs about 150 µs a call.
It neither retries, follows redirects, decodes, nor reads the environment (proxies, netrc). Deadlines are not its
business: `gateway/watch.py` throws into a greenlet that waits too long, and the connection is closed then.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import gevent
import httptools
from gevent import socket, ssl

READ_SIZE = 65536
MAX_HEAD = 64 * 1024
"""Bytes that may be read without a head being complete, or after it without any of the body among them."""
LONGEST_TURN = 16
"""Reads that fill the buffer, one after the other, after which others get a turn. Of TLS any reads."""

_buffer = bytearray(READ_SIZE)
_view = memoryview(_buffer)
# One buffer a process is enough: recv_into and the parser's copy happen without a switch of greenlets in between.


class BadAnswer(Exception):
    """The upstream does not speak HTTP as it should. Carries no data of the answer."""


class ConnectionEnded(Exception):
    """The upstream closed or reset the connection before the answer was complete."""


def send_all(sock: Any, data: bytes) -> None:
    """Send *data*; one system call where the socket takes it all, and gevent's careful loop for the rest.

    gevent's `sendall` alone costs three times as much: it asks the socket for its buffer size each time.
    """
    plain = getattr(sock, "_sock", None)
    if plain is None or isinstance(sock, ssl.SSLSocket):
        sock.sendall(data)
        return
    try:
        sent = plain.send(data)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


class Connection:
    """One connection, carrying one request and its answer after another.

    `send`, then `read_head`, then `read` until it gives b"" (the answer's end).
    Raises OSError, ConnectionEnded or BadAnswer; after any of them the connection must be closed.
    """

    __slots__ = (
        "_body", "_close_delimited", "_emptied", "_feed", "_framed", "_full_read", "_full_reads", "_head_done",
        "_keep_alive", "_no_body", "_parser", "_recv_into", "_sent", "_unfruitful", "_wait", "complete", "headers",
        "idle_since", "peer", "received", "reused", "sock", "status", "surplus",
    )  # fmt: skip

    def __init__(self, sock: Any) -> None:
        """Take *sock*, which is gevent's."""
        self.sock = sock
        # TLS may hold decrypted bytes that the socket knows nothing of, so there is no waiting on that one.
        plain = None if isinstance(sock, ssl.SSLSocket) else getattr(sock, "_sock", None)
        self._recv_into = (plain or sock).recv_into
        self._wait = None if plain is None else partial(sock._wait, sock._read_event)  # noqa: SLF001
        self._full_read = 1 if plain is None else READ_SIZE
        self.peer: Any = None
        """The address that it leads to."""
        self.reused = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.received = False
        self.surplus = False
        """Whether more came than the answer said that it has."""
        self._body: list[bytes] = []
        self._head_done = False
        self._unfruitful = 0
        self._full_reads = 0
        self._sent = False
        self._framed = False
        self._no_body = False
        self._close_delimited = False
        self._keep_alive = False
        self._emptied = True  # a request is sent before anything is read

    # -- what httptools calls --

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the answer (trailers are dropped)."""
        if not self._head_done:
            name = name.lower()
            if name in {b"content-length", b"transfer-encoding"}:
                self._framed = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; 1xx answers are passed over."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004
            if status == 101:  # noqa: PLR2004
                raise BadAnswer("switching protocols")
            self.headers = []
            self._framed = False
            return
        if self._head_done:
            raise BadAnswer("a second answer")
        self.status = status
        self._head_done = True
        self._no_body = status in {204, 304}
        self._keep_alive = self._parser.should_keep_alive()
        self._close_delimited = not (self._framed or self._no_body)

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body until `read` hands it on."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of a 1xx answer."""
        if self._head_done:
            self.complete = True

    # -- what forward calls --

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request. If that fails there may be an answer all the same, which is worth a `read_head`."""
        if len(body) <= READ_SIZE:
            send_all(self.sock, head + body)
        else:
            self.sock.sendall(head)
            self.sock.sendall(body)
        self._sent = True

    def send_pieces(self, head: bytes, pieces: Iterable[bytes], *, chunked: bool) -> None:
        """Send a request whose body comes in *pieces*; *chunked*: its length is not told in *head*."""
        send_all(self.sock, head)
        for piece in pieces:
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            send_all(self.sock, b"0\r\n\r\n")
        self._sent = True

    def read_head(self) -> None:
        """Wait for the answer's status and headers."""
        while not self._head_done:
            self._receive()

    def read(self) -> bytes:
        """Wait for the next piece of the body, all that has arrived; b"": that was the end."""
        while not self._body:
            if self.complete:
                return b""
            self._receive()
        body = self._body
        self._body = []
        return body[0] if len(body) == 1 else b"".join(body)

    def unread(self, data: bytes) -> None:
        """Have what was read before its time read again, first."""
        if data:
            self._body.insert(0, data)

    def _receive(self) -> None:
        """Wait for bytes and take what has arrived."""
        # After a read that emptied the socket there is nothing yet: to wait at once saves gevent's first, vain attempt
        # (a system call and an exception for each event of a paced stream).
        if self._emptied and self._wait is not None:
            self._wait()
        elif self._full_reads >= LONGEST_TURN:
            # Who sends faster than we pass it on would never let us wait, and so nobody else run.
            self._full_reads = 0
            gevent.sleep(0)
        try:
            count = self._recv_into(_buffer, READ_SIZE)
        except BlockingIOError:
            self._emptied = True
            return
        if count < self._full_read:
            self._emptied = True
            self._full_reads = 0
        else:
            self._emptied = False
            self._full_reads += 1
        if count == 0:
            self._ended()
            return
        self.received = True
        if self._unfruitful > MAX_HEAD:  # an endless header or trailer, which the parser would go on collecting
            raise BadAnswer("head too large")
        try:
            self._feed(_view[:count])
        except httptools.HttpParserError as error:
            if self.complete:  # an answer, and then something that is none: the answer counts
                self._keep_alive = False
                self.surplus = True
                return
            if isinstance(error.__context__, BadAnswer):
                raise error.__context__ from None
            raise BadAnswer(type(error).__name__) from None
        self._unfruitful = 0 if self._body else self._unfruitful + count

    def _ended(self) -> None:
        """Take the connection's end for the answer's, if that is how it ends. Raises ConnectionEnded."""
        if not (self._head_done and self._close_delimited):
            raise ConnectionEnded
        self.complete = True
        self._keep_alive = False

    @property
    def length_in_doubt(self) -> bool:
        """Whether what was read may not be all that was meant: more came than was said, or only the end told where."""
        return self.surplus or self._close_delimited

    @property
    def has_body(self) -> bool:
        """Whether `read` has something at once."""
        return bool(self._body) or self.complete

    # -- keeping --

    def reusable(self) -> bool:
        """Tell whether another request can follow on this connection."""
        return self.complete and self._sent and self._keep_alive and not self._close_delimited and not self._body

    def still_good(self) -> bool:
        """Tell whether the unused connection is open and silent: data or an end waiting there means no."""
        try:
            self.sock._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)  # noqa: SLF001
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def renew(self) -> None:
        """Make it ready for the next request."""
        self._reset()
        self.reused = True

    def close(self) -> None:
        """Close it at once."""
        with suppress(OSError):
            self.sock.close()
