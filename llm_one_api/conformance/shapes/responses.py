"""OpenAI's responses."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.models import OPENAI
from llm_one_api.conformance.scripts import Script, Step, encoded, event, stream, whole
from llm_one_api.conformance.shapes.openai import MODEL
from llm_one_api.values import Usage

PATH = "/v1/responses"
RAW = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 12},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 123,
}
USAGE = Usage(
    prompt_tokens=36, completion_tokens=87, total_tokens=123, cache_read_tokens=12, reasoning_tokens=64
)  # fmt: skip
Json = dict[str, Any]


def ask(model: str = OPENAI, **more: Any) -> Ask:
    """Ask for a response."""
    body = {"model": model, "input": "$CASE", **more}
    return Ask(path=PATH, body=encoded(body), model=model, stream=more.get("stream") is True)


ASK, ASK_STREAM = ask(), ask(stream=True)


def response(status: str = "completed", usage: Json | None = RAW, **more: Any) -> Json:
    """Write a response."""
    said = {"type": "output_text", "text": "Hello there.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}
    return {
        "id": "resp_$CASE",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": MODEL,
        "output": [message] if status in {"completed", "incomplete"} else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        **more,
    }


def answer(told: Json, **more: Any) -> Script:
    """Play a whole response."""
    return whole(told, **{"model": MODEL, "usage": USAGE, "usage_raw": RAW, "finish_reason": "stop", **more})


def typed(kind: str, number: int, **more: Any) -> bytes:
    """Write one event."""
    return event({"type": kind, "sequence_number": number, **more}, kind)


PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
BEGUN = (
    typed("response.created", 0, response=response("in_progress", None)),
    typed("response.in_progress", 1, response=response("in_progress", None)),
    typed("response.output_text.delta", 2, delta="Hello", logprobs=[], **PLACE),
    typed("response.output_text.delta", 3, delta=" there.", logprobs=[], **PLACE),
)


def stream_of(*events: Step, **more: Any) -> Script:
    """Play a stream of a response."""
    return stream(*events, **{"model": MODEL, "usage": USAGE, "usage_raw": RAW, "finish_reason": "stop", **more})


COMPLETED = typed("response.completed", 4, response=response())
STREAM = stream_of(*BEGUN, COMPLETED)
