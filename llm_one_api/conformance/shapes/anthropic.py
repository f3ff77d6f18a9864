"""Anthropic's Messages."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.models import ANTHROPIC
from llm_one_api.conformance.scripts import Script, Step, encoded, event, stream, whole
from llm_one_api.values import Usage

PATH = "/v1/messages"
MODEL = "claude-scripted-20260101"
VERSION = "2023-06-01"
Json = dict[str, Any]
RAW = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    "output_tokens": 30,
    "service_tier": "standard",
}
USAGE = Usage(
    prompt_tokens=1120,
    completion_tokens=30,
    total_tokens=1150,
    cache_read_tokens=1000,
    cache_write_5m_tokens=60,
    cache_write_1h_tokens=40,
)
"""`input_tokens` leaves the cache out; ours takes it in."""
TOLD = {"model": MODEL, "usage": USAGE, "usage_raw": RAW, "finish_reason": "end_turn", "service_tier": "standard"}


def ask(*, path: str = PATH, model: str = ANTHROPIC, **more: Any) -> Ask:
    """Ask for a message, as Anthropic's own clients do: with the key in `x-api-key`."""
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "$CASE"}], **more}
    if not path.startswith(PATH + "?") and path != PATH:  # to count tokens needs no limit
        del body["max_tokens"]
    headers = {"Content-Type": "application/json", "anthropic-version": VERSION}
    return Ask(path=path, body=encoded(body), model=model, stream=more.get("stream") is True, headers=headers)


ASK, ASK_STREAM = ask(), ask(stream=True)
TEXT = {"type": "text", "text": "Hello there."}


def message(*content: Json, usage: Json | None = RAW, **more: Any) -> Json:
    """Write a message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content) or [TEXT],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **more,
    }


def answer(told: Json, **more: Any) -> Script:
    """Play a whole message."""
    return whole(told, id_header="request-id", **{**TOLD, **more})


def typed(kind: str, **more: Any) -> bytes:
    """Write one event."""
    return event({"type": kind, **more}, kind)


def start(**usage: Any) -> bytes:
    """Begin a message; some of its usage is known then."""
    begun = {**message(usage={**RAW, "output_tokens": 1, **usage}), "content": [], "stop_reason": None}
    return typed("message_start", message=begun)


def text(words: str, index: int = 0) -> bytes:
    """Say some words."""
    return typed("content_block_delta", index=index, delta={"type": "text_delta", "text": words})


def block(content: Json, *deltas: bytes, index: int = 0) -> tuple[bytes, ...]:
    """Write one block."""
    return (
        typed("content_block_start", index=index, content_block=content),
        *deltas,
        typed("content_block_stop", index=index),
    )


def end(reason: str = "end_turn", **usage: Any) -> bytes:
    """End a message, with the sums of its usage."""
    return typed(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 30, **usage}
    )


PING, STOP = typed("ping"), typed("message_stop")
WORDS = block({"type": "text", "text": ""}, text("Hello"), text(" there."))
BEGUN = (start(), PING, *WORDS[:-1])
STREAM_EVENTS = (start(), PING, *WORDS, end(), STOP)


def stream_of(*events: Step, **more: Any) -> Script:
    """Play a stream of a message."""
    return stream(*events, id_header="request-id", **{**TOLD, **more})


STREAM = stream_of(*STREAM_EVENTS)


def error(kind: str, words: str = "No, because.") -> Json:
    """Write an error in Anthropic's shape."""
    return {"type": "error", "error": {"type": kind, "message": words}}
