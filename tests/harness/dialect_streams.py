"""A stream in each dialect, with what it tells, what it says and what it used."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from llm_one_api.dialects.anthropic import MESSAGES
from llm_one_api.dialects.dialect import Dialect
from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.dialects.openai_media import AUDIO, IMAGES
from llm_one_api.dialects.openai_responses import RESPONSES
from llm_one_api.dialects.told import Told
from llm_one_api.values import Usage


class Example(NamedTuple):
    """One of them."""

    dialect: Dialect
    stream: bytes
    told: Told
    text: str
    usage: Usage


def event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def typed(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, kind)


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5-mini-2025-08-07", "error": None,
            "incomplete_details": None, "output": [], "service_tier": "default", "usage": None, **more}  # fmt: skip


IN_OUT = {
    "input_tokens": 36,
    "output_tokens": 87,
    "total_tokens": 123,
    "output_tokens_details": {"reasoning_tokens": 9},
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
CALL = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-x", "service_tier": "default"}

STREAMS: dict[str, Example] = {
    "chat": Example(
        CHAT,
        event({**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"reasoning_content": "hm "}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"content": "你好\n\ndata: x"}, "finish_reason": None}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        + event({**CHUNK, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}})
        + b"data: [DONE]\n\n",
        Told(model="gpt-x", service_tier="default", finish_reason="stop",
             usage_raw={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}),
        "hm 你好\n\ndata: xf{}",
        Usage(prompt_tokens=5, completion_tokens=3, total_tokens=8),
    ),
    "responses": Example(
        RESPONSES,
        typed("response.created", response=response("in_progress"), sequence_number=0)
        + typed("response.reasoning_summary_text.delta", delta="hm ")
        + typed("response.output_text.delta", item_id="i", delta="response.completed")
        + typed("response.audio.delta", delta="AAAA")
        + typed("response.output_text.done", text="response.completed")
        + typed("response.completed", response=response("completed", usage=IN_OUT)),
        Told(model="gpt-5-mini-2025-08-07", service_tier="default", finish_reason="stop", usage_raw=IN_OUT),
        "hm response.completed",
        Usage(prompt_tokens=36, completion_tokens=87, total_tokens=123, reasoning_tokens=9),
    ),
    "messages": Example(
        MESSAGES,
        typed("message_start", message={**MESSAGE, "usage": {"input_tokens": 25, "cache_read_input_tokens": 100,
                                                              "output_tokens": 1, "service_tier": "standard"}})
        + typed("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + typed("ping")
        + typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hé"})
        + typed("content_block_stop", index=0)
        + typed("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}})
        + typed("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a":1}'})
        + typed("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 7})
        + typed("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
                usage={"input_tokens": None, "output_tokens": 15})
        + typed("message_stop"),
        Told(model="claude-x", service_tier="standard", finish_reason="tool_use",
             usage_raw={"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 15,
                        "service_tier": "standard"}),
        'Héf{"a":1}',
        Usage(prompt_tokens=125, completion_tokens=15, total_tokens=140, cache_read_tokens=100),
    ),
    "transcription": Example(
        AUDIO,
        typed("transcript.text.delta", delta="I see ") + typed("transcript.text.delta", delta="skies")
        + typed("transcript.text.done", text="I see skies", usage={"type": "duration", "seconds": 3}),
        Told(finish_reason="stop", usage_raw={"type": "duration", "seconds": 3}),
        "I see skies",
        Usage(audio_seconds=3.0),
    ),
    "images": Example(
        IMAGES,
        typed("image_generation.partial_image", b64_json="AAAA", partial_image_index=0)
        + typed("image_generation.completed", b64_json="AAAABBBB", usage=IN_OUT),
        Told(finish_reason="stop", usage_raw=IN_OUT, images=1),
        "",
        Usage(prompt_tokens=36, completion_tokens=87, total_tokens=123, reasoning_tokens=9, images=1),
    ),
}  # fmt: skip
