"""A request's body, read from gunicorn: all of it, or piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gunicorn.http.errors import ParseException

from llm_one_api.errors import BadRequest, BodyTooLarge

_STEP, _CHUNKED_STEP = 128 * 1024, 2048
"""Bytes of a body that are read in one go."""


class Body:
    """What a request brings. gunicorn and Flask accept a truncated body; this sees that all of it is there."""

    __slots__ = ("_chunked", "_left", "_most", "_read", "content_type", "length")

    def __init__(self, environ: dict[str, Any], most: int) -> None:
        """Read nothing yet; *most* bytes are taken."""
        told = environ.get("CONTENT_LENGTH")
        self.length = int(told) if told else None
        """Bytes; None: it is sent in chunks, or there is none."""
        self.content_type = str(environ.get("CONTENT_TYPE", ""))
        self._chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._read: Callable[[int], bytes] = environ["wsgi.input"].read
        self._most = most
        self._left = most if self.length is None else self.length

    def check(self) -> None:
        """Raise BodyTooLarge if it says that it is too large, BadRequest if there is none."""
        if self.length is not None and self.length > self._most:
            raise _too_large(self._most)
        if self.length is None and not self._chunked:
            raise BadRequest("The request has no body.", code="missing_body")

    def whole(self) -> bytes:
        """Read all of it. Raises BodyTooLarge or BadRequest."""
        self.check()
        pieces = [self.piece()]
        while pieces[-1] and (self._left or self.length is None):
            gevent.sleep(0)  # a chunk may be one byte long, and a socket that always has something never waits
            pieces.append(self.piece())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def piece(self) -> bytes:
        """Read some more; b"": that was all. Raises BodyTooLarge or BadRequest."""
        if self.length is not None:
            return self._piece_of_length()
        try:
            piece = self._read(_CHUNKED_STEP)
        except _BROKEN:
            raise _truncated() from None
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large(self._most)
        return piece

    def _piece_of_length(self) -> bytes:
        if not self._left:
            return b""
        try:
            piece = self._read(min(_STEP, self._left))
        except _BROKEN:
            raise _truncated() from None
        if not piece:
            raise _truncated()
        self._left -= len(piece)
        return piece


_BROKEN = (OSError, EOFError, ValueError, StopIteration, ParseException)


def _truncated() -> BadRequest:
    return BadRequest("The request's body ended before it was complete.", code="body_truncated")


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than {most} bytes, the limit of this gateway.")
