"""Anthropic's Messages, whole and as their events."""

from __future__ import annotations

from typing import Any

from anthropic.types import (
    ContentBlock,
    InputJSONDelta,
    Message,
    MessageDeltaUsage,
    MessageTokensCount,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    SignatureDelta,
    StopReason,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from anthropic.types import Usage as MessageUsage
from anthropic.types.raw_message_delta_event import Delta

from llm_one_api.values import Usage
from tests.harness.answers import anthropic_error, typed
from tests.harness.upstream import Script, stream

MODEL = "claude-scripted-20260101"
TOLD = MessageUsage.model_validate(
    {
        "input_tokens": 20,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
        "service_tier": "standard",
    }
)
USAGE = Usage(
    prompt_tokens=1120,
    completion_tokens=30,
    total_tokens=1150,
    cache_read_tokens=1000,
    cache_write_5m_tokens=60,
    cache_write_1h_tokens=40,
    reasoning_tokens=12,
)
"""The same, as it is kept: Anthropic's `input_tokens` leaves the cache out, ours takes it in."""
RECORDED = {
    "usage": USAGE,
    "usage_source": "reported",
    "usage_raw": TOLD.model_dump(exclude_unset=True),
    "usage_faults": (),
    "outcome": "success",
    "status": 200,
    "response_model": MODEL,
    "service_tier": "standard",
    "finish_reason": "end_turn",
}
INPUT: dict[str, object] = {"city": "Paris", "unit": "°C"}
THOUGHT = ThinkingBlock(type="thinking", thinking="They greet me.", signature="EqoB")
COUNT = MessageTokensCount(input_tokens=14)


def says(text: str) -> TextBlock:
    return TextBlock(type="text", text=text)


def call(number: int = 1) -> ToolUseBlock:
    """Call the tool `weather`."""
    return ToolUseBlock(type="tool_use", id=f"toolu_{number}", name="weather", input=INPUT)


def message(*content: ContentBlock, stop: StopReason = "end_turn") -> Message:
    return Message(
        id="msg_1",
        type="message",
        role="assistant",
        model=MODEL,
        content=list(content) or [says("Hi there.")],
        stop_reason=stop,
        stop_sequence=None,
        usage=TOLD,
    )


def _start() -> bytes:
    begun = message()
    begun.content, begun.stop_reason = [], None
    begun.usage = TOLD.model_copy(update={"output_tokens": 1})
    del begun.usage.output_tokens_details
    return typed(RawMessageStartEvent(type="message_start", message=begun))


def _end(stop: StopReason) -> bytes:
    """End a message, with the sums of its usage so far: they are not to be added to what its start has told."""
    told = MessageDeltaUsage.model_validate(
        TOLD.model_dump(include={"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
                                 "output_tokens", "output_tokens_details"}, exclude_unset=True)
    )  # fmt: skip
    delta = Delta(stop_reason=stop, stop_sequence=None)
    return typed(RawMessageDeltaEvent(type="message_delta", delta=delta, usage=told))


def block(index: int, empty: ContentBlock, *deltas: Any) -> tuple[bytes, ...]:
    """Write the events of one block."""
    return (
        typed(RawContentBlockStartEvent(type="content_block_start", index=index, content_block=empty)),
        *[typed(RawContentBlockDeltaEvent(type="content_block_delta", index=index, delta=delta)) for delta in deltas],
        typed(RawContentBlockStopEvent(type="content_block_stop", index=index)),
    )


START, PING = _start(), b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = typed(RawMessageStopEvent(type="message_stop"))
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
OVERLOADED = anthropic_error("Overloaded", kind="overloaded_error")


def thinks(index: int = 0) -> tuple[bytes, ...]:
    return block(
        index,
        ThinkingBlock(type="thinking", thinking="", signature=""),
        ThinkingDelta(type="thinking_delta", thinking="They "),
        ThinkingDelta(type="thinking_delta", thinking="greet me."),
        SignatureDelta(type="signature_delta", signature="EqoB"),
    )


def words(index: int = 0) -> tuple[bytes, ...]:
    deltas = [TextDelta(type="text_delta", text=text) for text in ("Hi ", "there.")]
    return block(index, says(""), *deltas)


def calls(index: int = 0) -> tuple[bytes, ...]:
    pieces = ["", '{"city": "Pa', 'ris", "unit": "°C"}']
    empty = ToolUseBlock(type="tool_use", id=f"toolu_{index}", name="weather", input={})
    return block(index, empty, *[InputJSONDelta(type="input_json_delta", partial_json=piece) for piece in pieces])


def message_stream(*events: bytes, stop: StopReason = "end_turn") -> Script:
    """Answer with a stream."""
    return stream(START, PING, *(events or words()), _end(stop), STOP)
