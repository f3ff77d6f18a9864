"""Streams of Anthropic's, written event by event, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

from llm_one_api.dialects import sse
from llm_one_api.dialects.translating.anthropic import Stream

CREATED = 1_700_000_000
DONE = b"data: [DONE]\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x-2026",
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1, **usage},
    }  # fmt: skip
    return event("message_start", message=message)


def begin(index: int, kind: str, **members: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **members})


def delta(index: int, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **members})


def said(index: int, text: str) -> bytes:
    return delta(index, "text_delta", text=text)


def end(index: int) -> bytes:
    return event("content_block_stop", index=index)


def finish(reason: str | None, output_tokens: int = 7, **members: Any) -> bytes:
    change = {"stop_reason": reason, "stop_sequence": None, **members}
    return event("message_delta", delta=change, usage={"output_tokens": output_tokens})


STOP = event("message_stop")


def stream(*, include_usage: bool = False) -> Stream:
    return Stream(model="claude-x", created=CREATED, include_usage=include_usage)


def chunks(out: bytes) -> list[Any]:
    """Read what came out; the end is None."""
    assert out == b"" or out.endswith(b"\n\n")
    told = [sse.data_of(event) for event in sse.events(out)]
    return [None if data == b"[DONE]" else json.loads(data) for data in told]


def deltas(out: bytes) -> list[Any]:
    """Read the deltas that came out, but for empty ones."""
    found = [chunk["choices"][0]["delta"] for chunk in chunks(out) if chunk and chunk["choices"]]
    return [delta for delta in found if delta]
