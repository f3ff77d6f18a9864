"""Answers as the providers give them: written with the official SDKs' own types, so that they are true to them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from tests.harness import upstream
from tests.harness.upstream import Script

ID = b"x-request-id: req_upstream\r\nrequest-id: req_upstream\r\n"


def encoded(answer: BaseModel) -> bytes:
    """Write an answer with the members it was made with, under the names that they have on the wire."""
    # No warnings: a type may tell what the SDK makes of a member (a vector), and the wire has it otherwise.
    return answer.model_dump_json(exclude_unset=True, by_alias=True, warnings=False).encode()


def event(data: BaseModel) -> bytes:
    """Write an event of those streams whose events have no names."""
    return b"data: " + encoded(data) + b"\n\n"


def typed(data: BaseModel) -> bytes:
    """Write an event of those streams whose events are named by their `type`."""
    kind: str = data.model_dump()["type"]
    return b"event: " + kind.encode() + b"\n" + event(data)


def whole(answer: BaseModel, headers: bytes = b"") -> Script:
    """Answer in one piece, with an id of the upstream's own."""
    return upstream.json_answer(200, encoded(answer), ID + headers)


def refusal(status: int, error: dict[str, Any], headers: bytes = b"") -> Script:
    """Answer with an error, which no type of an SDK describes."""
    return upstream.json_answer(status, json.dumps(error).encode(), ID + headers)


def openai_error(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Word an error as OpenAI does."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic_error(message: str, *, kind: str) -> dict[str, Any]:
    """Word an error as Anthropic does."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_upstream"}
