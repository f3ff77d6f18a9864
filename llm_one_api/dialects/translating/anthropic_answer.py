"""An Anthropic message, or its error, as OpenAI's.

Left out, for OpenAI's shape has no place for it: the signatures of thoughts and redacted ones, citations, the blocks of
tools that Anthropic runs itself (they cannot be asked for through this translation), and which stop sequence it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from llm_one_api.dialects.dialect import usage_object
from llm_one_api.dialects.usage import of_anthropic

_FINISHES: Mapping[str | None, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TIERS: Mapping[Any, str] = {"standard": "default", "priority": "priority"}


class Block(msgspec.Struct):
    """A content block, whole or as a stream begins it, as far as it can be said."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def arguments(self) -> str:
        """What a tool is called with, as JSON."""
        return bytes(self.input).decode()


class StopDetails(msgspec.Struct):
    """Why an answer was refused."""

    explanation: str | None = None


class _Message(msgspec.Struct):
    type: Literal["message"]
    content: list[Block]
    id: str = ""
    model: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(_Message)


def answer(body: bytes, *, model: str, created: int) -> bytes:
    """Translate a message; *model* holds if it does not name its own. Raises ValueError if it is none."""
    try:
        told = _message.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    figures = usage_object(told.usage)
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.arguments}}
        for block in told.content
        if block.type == "tool_use"
    ]
    said = "".join([block.text for block in told.content if block.type == "text"])
    thoughts = "".join([block.thinking for block in told.content if block.type == "thinking"])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said if said or not calls else None,
        "refusal": told.stop_details.explanation if told.stop_details else None,
    }
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(told.stop_reason)}
    completion = {
        "id": told.id,
        "object": "chat.completion",
        "created": created,
        "model": told.model or model,
        "choices": [choice],
        "usage": usage(figures),
    }
    tier = service_tier(figures)
    return msgspec.json.encode({**completion, "service_tier": tier} if tier else completion)


def finish_reason(stop_reason: str | None) -> str:
    """Give OpenAI's word for why it ended; what is not known yet is a stop."""
    return _FINISHES.get(stop_reason, "stop")


# ---- usage ----


def usage(raw: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give the usage in OpenAI's shape, where the input includes what was read from and written to the cache.

    None if the input or the output is not told: OpenAI's shape has no way to say so.
    """
    figures = of_anthropic(raw).usage
    if raw is None or figures is None or figures.prompt_tokens is None or figures.completion_tokens is None:
        return None
    short, long = figures.cache_write_5m_tokens, figures.cache_write_1h_tokens
    inputs = {
        "cached_tokens": figures.cache_read_tokens,
        "cache_write_tokens": None if short is None and long is None else (short or 0) + (long or 0),
        "cache_creation": raw.get("cache_creation"),  # by how long it is kept, as Anthropic tells it
    }
    outputs = {"reasoning_tokens": figures.reasoning_tokens}
    told = {
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.prompt_tokens + figures.completion_tokens,
        "prompt_tokens_details": _known(inputs),
        "completion_tokens_details": _known(outputs),
    }
    return _known(told)


def _known(figures: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in figures.items() if value is not None} or None


def service_tier(raw: Mapping[str, Any] | None) -> str | None:
    """Give OpenAI's word for the tier that a usage object tells; None: it has none."""
    tier = raw.get("service_tier") if raw else None
    return _TIERS.get(tier) if isinstance(tier, str) else None


# ---- errors ----


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    message: str
    type: str = "api_error"
    details: _Details | None = None


class _Failed(msgspec.Struct):
    error: _Error


_failed = msgspec.json.Decoder(_Failed)


def error(body: bytes, status: int) -> bytes:
    """Translate an error; one that cannot be read is told by its status alone."""
    kind = "invalid_request_error" if 400 <= status < 500 else "api_error"  # noqa: PLR2004
    return msgspec.json.encode(error_object(body, f"The upstream answered with status {status}.", kind))


def error_object(body: bytes, message: str, kind: str) -> dict[str, Any]:
    """Read an error; *message* and *kind* hold if it cannot be read."""
    try:
        told = _failed.decode(body).error
    except (ValueError, RecursionError):
        told = _Error(message, kind)
    code = told.details.error_code if told.details else None
    return {"error": {"message": told.message, "type": told.type, "param": None, "code": code}}
