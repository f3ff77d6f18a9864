"""The one view of all proxied endpoints.

It is a WSGI application of its own, which `Gateway.wsgi_app` asks before Flask: Flask's contexts, routing and response
finishing were measured at 190 µs a call, a third of all that a call costs
(`docs/decisions/0002-flask-beside-the-hot-path.md`).
Flask knows the paths too, and answers wrong methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.routing import Map, Rule

from llm_one_api.errors import BadRequest, BodyTooLarge, GatewayError
from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.gateway.line import Line
from llm_one_api.values import Call
from llm_one_api.web import errors
from llm_one_api.web.door import OVERHEAD, REQUEST_ID, api_key, clean, new_id, overhead, tags

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_PASSING = (
    ("HTTP_ACCEPT", "Accept"),
    ("HTTP_USER_AGENT", "User-Agent"),
    ("HTTP_OPENAI_BETA", "OpenAI-Beta"),
    ("HTTP_IDEMPOTENCY_KEY", "Idempotency-Key"),
)
"""The caller's headers that go upstream. A list of what may, not of what may not: a key must never slip through."""

_STEP, _CHUNKED_STEP = 128 * 1024, 2048
"""Bytes of a body that are read in one go."""

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Proxy:
    """Takes the calls of all endpoints, by their path."""

    def __init__(self, line: Line, *, max_body_bytes: int) -> None:
        """Carry calls over *line*."""
        self._line = line
        self._max_body_bytes = max_body_bytes
        self.endpoints = {endpoint.path: endpoint for endpoint in ENDPOINTS}

    def tell(self, routes: Map) -> None:
        """Tell Flask which paths and methods are ours."""
        for endpoint in ENDPOINTS:
            routes.add(Rule(endpoint.path, endpoint=f"proxy.{endpoint.name}", methods=["POST"]))

    def takes(self, environ: dict[str, Any]) -> Endpoint | None:
        """Give the endpoint that a request is for; None: it is Flask's."""
        return self.endpoints.get(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None

    def __call__(self, endpoint: Endpoint, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        started = time.monotonic()
        request_id = new_id()
        sock = environ.get("gunicorn.socket")
        call = Call(
            id=request_id,
            started=started,
            endpoint=endpoint.name,
            api_key=api_key(environ),
            read_body=partial(read_body, environ, self._max_body_bytes),
            headers=tuple([(name, environ[key]) for key, name in _PASSING if key in environ]),
            client_request_id=clean(environ.get("HTTP_X_REQUEST_ID"), 200),
            tags=tags(environ),
            client_fd=sock.fileno() if sock is not None else -1,
        )
        try:
            reply = self._line.carry(call, endpoint)
        except Exception as error:
            return _refuse(error, request_id, started, environ, start_response)
        headers = list(reply.headers.items())
        if reply.length is not None:
            headers.append(("content-length", str(reply.length)))
        headers.append((REQUEST_ID, request_id))
        headers.append((OVERHEAD, overhead(started, reply.waited)))
        start_response(_STATUS_LINES.get(reply.status) or f"{reply.status} Unknown", headers)
        return reply.body


def _refuse(
    error: Exception, request_id: str, started: float, environ: dict[str, Any], start_response: StartResponse
) -> Iterable[bytes]:
    if isinstance(error, GatewayError):
        response = errors.refuse(error)
        waited = error.waited
    else:
        response = errors.unexpected(error)
        waited = 0.0
    response.headers[REQUEST_ID] = request_id
    response.headers[OVERHEAD] = overhead(started, waited)
    return response(environ, start_response)


def read_body(environ: dict[str, Any], most: int) -> bytes:
    """Read the request's body and see that it is all there: gunicorn and Flask accept a truncated one.

    Raises BodyTooLarge or BadRequest.
    """
    told = environ.get("CONTENT_LENGTH")
    length = int(told) if told else None
    if length is not None and length > most:
        raise _too_large(most)
    try:
        body = _read(environ["wsgi.input"].read, most + 1 if length is None else length, chunked=length is None)
    except (OSError, EOFError, ValueError, StopIteration, ParseException):
        raise _truncated() from None
    if length is None:
        if len(body) > most:
            raise _too_large(most)
        if "HTTP_TRANSFER_ENCODING" not in environ:
            raise BadRequest("The request has no body.", code="missing_body")
    elif len(body) < length:
        raise _truncated()
    return body


def _read(read: Callable[[int], bytes], size: int, *, chunked: bool) -> bytes:
    """Read *size* bytes, or all that there are, letting others run in between.

    A chunk may be one byte long, and a socket that always has something to read never waits.
    """
    step = _CHUNKED_STEP if chunked else _STEP
    piece = read(min(step, size))
    pieces, left = [piece], size - len(piece)
    while piece and left > 0:
        gevent.sleep(0)
        piece = read(min(step, left))
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _truncated() -> BadRequest:
    return BadRequest("The request's body ended before it was complete.", code="body_truncated")


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than {most} bytes, the limit of this gateway.")
