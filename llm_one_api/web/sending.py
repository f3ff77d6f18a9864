"""How answers are put on the wire: gunicorn's response, with head and first piece in one `send`."""

from __future__ import annotations

import time
from functools import cache

from gunicorn import util
from gunicorn.http import wsgi

from llm_one_api.gateway.http import send_all

# One for all requests: gunicorn makes it anew for each, 4 % of a call's CPU time.
wsgi.WSGIErrorsWrapper = cache(wsgi.WSGIErrorsWrapper)


class Date:
    """The `Date` header's value, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """Give it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, util.http_date(second)
        return self._text


_date = Date()


class OneSend(wsgi.Response):  # type: ignore[misc]
    """Sends the head together with the first piece of the body."""

    def write(self, arg: bytes) -> None:
        """Send a piece; an empty one sends the head alone."""
        if self.headers_sent and self.chunked and arg and not self._omits_body:  # an event of a stream
            send_all(self.sock, b"%X\r\n%b\r\n" % (len(arg), arg))
        elif self.headers_sent or self._omits_body or not arg:
            super().write(arg)
        else:
            self._send_with_head(arg)

    def default_headers(self) -> list[str]:
        """Give the head's first lines."""
        major, minor = self.req.version
        connection = "close" if self.should_close() else "keep-alive"
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\nDate: {_date.now()}\r\nConnection: {connection}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def _send_with_head(self, arg: bytes) -> None:
        head = "".join([*self.default_headers(), *[f"{k}: {v}\r\n" for k, v in self.headers], "\r\n"]).encode("latin-1")
        if self.response_length is not None:
            arg = arg[: self.response_length]
        self.headers_sent: bool = True
        self.sent = len(arg)
        send_all(self.sock, head + (b"%X\r\n%b\r\n" % (len(arg), arg) if self.chunked else arg))

    def _emit_body(self, data: bytes) -> None:
        """Put a piece of the body on the wire."""
        send_all(self.sock, b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)
