"""The only place that puts errors into words on the wire, in OpenAI's shape."""

from __future__ import annotations

import math
import traceback

import msgspec
import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from llm_one_api.errors import GatewayError

log = structlog.get_logger()

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def answer(
    status: int,
    message: str,
    *,
    kind: str,
    code: str | None,
    param: str | None = None,
    retry_after: float | None = None,
) -> Response:
    """Write an error as OpenAI does."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    response = Response(msgspec.json.encode(body), status=status, content_type="application/json")
    if retry_after is not None:
        response.headers["retry-after"] = str(math.ceil(retry_after))
    return response


def refuse(error: GatewayError) -> Response:
    """Answer with an error of ours."""
    return answer(
        error.status, error.message, kind=error.type, code=error.code, param=error.param, retry_after=error.retry_after
    )


def _http(error: HTTPException) -> Response:
    """Answer where Flask refused: an unknown path, a wrong method."""
    status = error.code or 500
    allowed = sorted(getattr(error, "valid_methods", None) or [])
    messages = {
        404: "Unknown path. See the README for the endpoints that there are.",
        405: f"This path does not take that method; it takes {', '.join(allowed)}.",
    }
    response = answer(
        status,
        messages.get(status, error.name),
        kind="invalid_request_error" if status < 500 else "api_error",  # noqa: PLR2004
        code=_CODES.get(status),
    )
    if allowed:
        response.headers["allow"] = ", ".join(allowed)
    return response


def unexpected(error: Exception) -> Response:
    """Answer where we failed. The exception's own text may hold anything, so only its kind and place are logged."""
    where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    log.error("request.failed", kind=type(error).__name__, where=where)
    return answer(500, "The gateway failed. The operator's log says where.", kind="api_error", code="internal_error")


def register(app: Flask) -> None:
    """Have *app* answer all errors in this way."""
    app.register_error_handler(GatewayError, refuse)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, unexpected)
