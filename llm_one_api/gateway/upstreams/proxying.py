"""HTTP proxies: a tunnel (CONNECT) to an https upstream, and the absolute form of requests to an http one.

A tunnel for both would be simpler, but proxies refuse tunnels to ports other than 443 unless told otherwise (squid's
`SSL_ports`, Apache's `AllowCONNECT`), and the absolute form is what RFC 9112 (3.2.2) wants.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from llm_one_api.gateway.http import Connection
from llm_one_api.gateway.upstreams.faults import ProxyFailed

_LONGEST_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r\n")
_AWAY = frozenset({502, 503, 504})
"""What a proxy answers that cannot reach the upstream."""
_WHO_ARE_YOU = 407


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where a proxy listens, and how it is told who we are."""

    host: str
    port: int
    authorization: bytes
    """A line of the head, or nothing. A secret."""

    @classmethod
    def of(cls, url: str) -> Proxy | None:
        """Read it from a URL such as `http://user:password@proxy:3128`; None: there is none."""
        if not url:
            return None
        parts = urlsplit(url)
        authorization = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            authorization = b"Proxy-Authorization: Basic " + b64encode(pair) + b"\r\n"
        return cls(host=parts.hostname or "", port=parts.port or 80, authorization=authorization)

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Proxy({self.host!r}, {self.port})"


def open_tunnel(sock: Any, place: str, proxy: Proxy) -> None:
    """Have *proxy* connect *sock* with *place* (host and port). Raises ProxyFailed, OSError."""
    at = place.encode("latin-1")
    sock.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (at, at, proxy.authorization))
    said = b""
    while True:
        while b"\r\n\r\n" not in said:
            piece = sock.recv(_LONGEST_HEAD)
            if not piece:
                raise ProxyFailed("the proxy hung up without an answer to CONNECT")
            said += piece
            if len(said) > _LONGEST_HEAD:
                raise ProxyFailed("the proxy's answer to CONNECT has no end")
        found = _STATUS.match(said)
        if found is None:
            raise ProxyFailed("the proxy does not answer in HTTP")
        _, _, said = said.partition(b"\r\n\r\n")
        status = int(found[1])
        if status >= 200:  # noqa: PLR2004
            break
    if not 200 <= status < 300:  # noqa: PLR2004
        raise ProxyFailed(_refusal(status), "upstream_unreachable" if status in _AWAY else "upstream_proxy")
    if said:  # TLS begins with us: whoever speaks first is not the upstream
        raise ProxyFailed("the proxy sent more than an answer to CONNECT")


class Forwarded(Connection):
    """A connection to a proxy that passes each request on to an http upstream."""

    __slots__ = ("_authorization", "_before")

    def __init__(self, sock: Any, place: str, proxy: Proxy) -> None:
        super().__init__(sock)
        self._before = b"http://" + place.encode("latin-1")
        self._authorization = proxy.authorization

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request in the absolute form."""
        super().send(self._absolute(head), body)

    def send_pieces(self, head: bytes, pieces: Iterable[bytes], *, chunked: bool) -> None:
        """Send a request in the absolute form."""
        super().send_pieces(self._absolute(head), pieces, chunked=chunked)

    def read_head(self) -> None:
        """Wait for the answer's status and headers. Raises ProxyFailed if it is the proxy's, about who we are."""
        super().read_head()
        if self.status == _WHO_ARE_YOU:
            raise ProxyFailed(_refusal(_WHO_ARE_YOU))

    def _absolute(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        line, _, rest = rest.partition(b"\r\n")
        return b"%b %b%b\r\n%b%b" % (method, self._before, line, self._authorization, rest)


def _refusal(status: int) -> str:
    if status == _WHO_ARE_YOU:
        return "the proxy answered 407: it wants other credentials than it was given"
    return f"the proxy answered {status}"
