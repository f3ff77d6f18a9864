"""The only place that puts errors into words on the wire, in the shape of the caller's dialect: else in OpenAI's."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

import msgspec
import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from llm_one_api.dialects.dialect import Dialect, Failure
from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.errors import GatewayError
from llm_one_api.gateway import limit_headers

log = structlog.get_logger()

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def answer(
    failure: Failure, *, dialect: Dialect = CHAT, request_id: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Write an error as the caller's dialect does."""
    body = msgspec.json.encode(dialect.error(failure, request_id))
    return Response(body, status=failure.status, headers=headers, content_type="application/json")


def refuse(error: GatewayError, dialect: Dialect = CHAT, request_id: str = "") -> Response:
    """Answer with an error of ours."""
    failure = Failure(
        status=error.status, message=error.message, type=error.type, code=error.code, param=error.param
    )  # fmt: skip
    headers = {**error.headers, **limit_headers.of(error.standing)}
    return answer(failure, dialect=dialect, request_id=request_id, headers=headers)


def _http(error: HTTPException) -> Response:
    """Answer where Flask refused: an unknown path, a wrong method."""
    status = error.code or 500
    allowed = sorted(getattr(error, "valid_methods", None) or [])
    messages = {
        404: "Unknown path. See the README for the endpoints that there are.",
        405: f"This path does not take that method; it takes {', '.join(allowed)}.",
    }
    failure = Failure(
        status=status,
        message=messages.get(status, error.name),
        type="invalid_request_error" if status < 500 else "api_error",  # noqa: PLR2004
        code=_CODES.get(status),
    )
    return answer(failure, headers={"allow": ", ".join(allowed)} if allowed else None)


def unexpected(error: Exception, dialect: Dialect = CHAT, request_id: str = "") -> Response:
    """Answer where we failed. The exception's own text may hold anything, so only its kind and place are logged."""
    where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    log.error("request.failed", kind=type(error).__name__, where=where)
    message = "The gateway failed. The operator's log says where."
    failure = Failure(status=500, message=message, type="api_error", code="internal_error")
    return answer(failure, dialect=dialect, request_id=request_id)


def register(app: Flask) -> None:
    """Have *app* answer all errors in this way."""
    app.register_error_handler(GatewayError, refuse)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, unexpected)
