"""Answers what is no HTTP request that gunicorn understands: in OpenAI's shape, with an id, without its text.

The text stays out of the log too: a header without its colon may be `Authorization Bearer sk-…`.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus

import msgspec
import structlog
from gunicorn.http import errors

from llm_one_api.web.door import OVERHEAD, REQUEST_ID, new_id

log = structlog.get_logger()

_KINDS: tuple[tuple[type[BaseException], int, str, str], ...] = (
    (errors.LimitRequestLine, 414, "uri_too_long", "The request's path is too long."),
    (errors.LimitRequestHeaders, 431, "headers_too_large", "The request's headers are too many or too long."),
    (errors.ExpectationFailed, 417, "expectation_failed", "The request expects something that is not done here."),
    (errors.UnsupportedTransferCoding, 501, "unsupported_transfer_encoding", "The body's transfer coding is unknown."),
    (errors.InvalidRequestLine, 400, "invalid_http", "The request's first line is not valid HTTP."),
    (errors.InvalidRequestMethod, 400, "invalid_http", "The request's method is not valid HTTP."),
    (errors.InvalidHTTPVersion, 400, "invalid_http", "The request's HTTP version is not spoken here: use HTTP/1.1."),
    (errors.InvalidHeaderName, 400, "invalid_http", "The name of one of the request's headers is not valid HTTP."),
    (errors.InvalidHeader, 400, "invalid_http", "One of the request's headers is not valid HTTP."),
    (errors.ParseException, 400, "invalid_http", "The request is not valid HTTP."),
)
_OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


def answer(error: BaseException) -> bytes:
    """Give the whole answer to a request that met with *error*; the connection is to be closed after it."""
    request_id = new_id()
    for kind, status, code, message in () if isinstance(error, _OURS) else _KINDS:
        if isinstance(error, kind):
            return _written(status, code, message, "invalid_request_error", request_id)
    where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    log.error("connection.failed", kind=type(error).__name__, where=where, request_id=request_id)
    return _written(
        500, "internal_error", "The gateway failed. The operator's log says where.", "api_error", request_id
    )


def _written(status: int, code: str, message: str, kind: str, request_id: str) -> bytes:
    body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        f"{REQUEST_ID}: {request_id}\r\n{OVERHEAD}: 0.00\r\n\r\n"
    )
    return head.encode("latin-1") + body
