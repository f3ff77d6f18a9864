"""The one view of all proxied endpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException

from llm_one_api.errors import BadRequest, BodyTooLarge, GatewayError
from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.gateway.line import Line
from llm_one_api.values import Call
from llm_one_api.web.door import api_key, clean, tags

_PASSING = (
    ("CONTENT_TYPE", "Content-Type"),
    ("HTTP_ACCEPT", "Accept"),
    ("HTTP_USER_AGENT", "User-Agent"),
    ("HTTP_OPENAI_BETA", "OpenAI-Beta"),
    ("HTTP_IDEMPOTENCY_KEY", "Idempotency-Key"),
)
"""The caller's headers that go upstream. A list of what may, not of what may not: a key must never slip through."""


def register(app: Flask, line: Line, *, max_body_bytes: int) -> None:
    """Add a route for each endpoint, all with the same view."""
    for endpoint in ENDPOINTS:
        view = partial(_proxy, line, endpoint, max_body_bytes)
        app.add_url_rule(endpoint.path, f"proxy.{endpoint.name}", view, methods=["POST"])


def _proxy(line: Line, endpoint: Endpoint, max_body_bytes: int) -> Response:
    environ = request.environ
    sock = environ.get("gunicorn.socket")
    call = Call(
        id=g.id,
        started=g.started,
        endpoint=endpoint.name,
        api_key=api_key(environ),
        read_body=partial(read_body, environ, max_body_bytes),
        headers=tuple([(name, environ[key]) for key, name in _PASSING if key in environ]),
        client_request_id=clean(environ.get("HTTP_X_REQUEST_ID"), 200),
        tags=tags(environ),
        client_fd=sock.fileno() if sock is not None else -1,
    )
    try:
        reply = line.carry(call, endpoint)
    except GatewayError as error:
        g.waited = error.waited
        raise
    g.waited = reply.waited
    response = Response(reply.body, reply.status, headers=list(reply.headers.items()), direct_passthrough=True)
    if "content-type" not in reply.headers:
        del response.headers["content-type"]
    if reply.length is not None:
        response.headers["content-length"] = str(reply.length)
    return response


def read_body(environ: dict[str, Any], most: int) -> bytes:
    """Read the request's body and see that it is all there: gunicorn and Flask accept a truncated one.

    Raises BodyTooLarge or BadRequest.
    """
    too_large = BodyTooLarge(f"The request's body is larger than {most} bytes, the limit of this gateway.")
    told = environ.get("CONTENT_LENGTH")
    length = int(told) if told else None
    if length is not None and length > most:
        raise too_large
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    try:
        body = read(most + 1 if length is None else length)
    except GatewayError:
        raise
    except (OSError, EOFError, ValueError, StopIteration, ParseException):
        raise _truncated() from None
    if length is None:
        if len(body) > most:
            raise too_large
        if "HTTP_TRANSFER_ENCODING" not in environ and not body:
            raise BadRequest("The request has no body.", code="missing_body")
    elif len(body) < length:
        raise _truncated()
    return body


def _truncated() -> BadRequest:
    return BadRequest("The request's body ended before it was complete.", code="body_truncated")
