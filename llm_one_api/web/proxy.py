"""The one view of all proxied endpoints.

It is a WSGI application of its own, which `Gateway.wsgi_app` asks before Flask: Flask's contexts, routing and response
finishing were measured at 190 µs a call, a third of all that a call costs
(`docs/decisions/0002-flask-beside-the-hot-path.md`).
Flask knows the paths too, and answers wrong methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from flask import Flask
from werkzeug.exceptions import NotFound

from llm_one_api.errors import GatewayError
from llm_one_api.gateway.endpoints import Endpoint, Table
from llm_one_api.values import Call
from llm_one_api.web import errors
from llm_one_api.web.body import Body
from llm_one_api.web.current import Current
from llm_one_api.web.door import OVERHEAD, REQUEST_ID, api_key, clean, new_id, overhead, peer, retries, tags

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_PASSING = (
    ("HTTP_ACCEPT", "Accept"),
    ("HTTP_USER_AGENT", "User-Agent"),
    ("HTTP_OPENAI_BETA", "OpenAI-Beta"),
    ("HTTP_IDEMPOTENCY_KEY", "Idempotency-Key"),
    ("HTTP_ANTHROPIC_VERSION", "anthropic-version"),
    ("HTTP_ANTHROPIC_BETA", "anthropic-beta"),
)
"""The caller's headers that go upstream. A list of what may, not of what may not: a key must never slip through."""

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Proxy:
    """Takes the calls of all endpoints, by their path."""

    def __init__(self, current: Current) -> None:
        """Carry each call over the line that is the current one when it comes."""
        self._current = current
        self._table = Table()

    def tell(self, app: Flask) -> None:
        """Tell Flask which paths and methods are ours, so that it can answer what we do not take."""
        for endpoint in self._table.endpoints:
            path = endpoint.path.replace("{id}", "<id>")
            app.add_url_rule(path, f"proxy.{endpoint.name}", _no_such_id, methods=endpoint.methods)

    def takes(self, environ: dict[str, Any]) -> Endpoint | None:
        """Give the endpoint that a request is for; None: it is Flask's."""
        return self._table.find(environ["PATH_INFO"], environ["REQUEST_METHOD"])

    def __call__(self, endpoint: Endpoint, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        started = time.monotonic()
        request_id = new_id()
        sock = environ.get("gunicorn.socket")
        serving = self._current.serving
        call = Call(
            id=request_id,
            started=started,
            endpoint=endpoint.name,
            api_key=api_key(environ),
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            query=environ["QUERY_STRING"],
            body=Body(environ, serving.max_body_bytes),
            headers=tuple([(name, environ[key]) for key, name in _PASSING if key in environ]),
            client_request_id=clean(environ.get("HTTP_X_REQUEST_ID"), 200),
            sdk_retry_count=retries(environ),
            tags=tags(environ),
            peer=peer(environ),
            client_fd=sock.fileno() if sock is not None else -1,
        )
        serving.asking += 1
        try:
            reply = serving.line.carry(call, endpoint)
        except Exception as error:
            return _refuse(error, endpoint, request_id, started, environ, start_response)
        finally:
            serving.asking -= 1
        headers = list(reply.headers.items())
        if reply.length is not None:
            headers.append(("content-length", str(reply.length)))
        headers.append((REQUEST_ID, request_id))
        if endpoint.dialect.id_header is not None:
            headers.append((endpoint.dialect.id_header, request_id))
        headers.append((OVERHEAD, overhead(started, reply.waited)))
        start_response(_STATUS_LINES.get(reply.status) or f"{reply.status} Unknown", headers)
        return reply.body


def _no_such_id(**_: str) -> NoReturn:
    """Answer a path whose last part can be no id: it is Flask's that we do not take."""
    raise NotFound


def _refuse(
    error: Exception,
    endpoint: Endpoint,
    request_id: str,
    started: float,
    environ: dict[str, Any],
    start_response: StartResponse,
) -> Iterable[bytes]:
    dialect = endpoint.dialect
    if isinstance(error, GatewayError):
        response = errors.refuse(error, dialect, request_id)
        waited = error.waited
    else:
        response = errors.unexpected(error, dialect, request_id)
        waited = 0.0
    response.headers[REQUEST_ID] = request_id
    if dialect.id_header is not None:
        response.headers[dialect.id_header] = request_id
    response.headers[OVERHEAD] = overhead(started, waited)
    return response(environ, start_response)
