"""Anthropic's Messages: answers, and streams whose usage is cumulative and comes in two events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_one_api.dialects.batches import decode_events
from llm_one_api.dialects.dialect import Dialect, Failure, Shape, code_of, joined, usage_object, word
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.dialects.told import Told
from llm_one_api.dialects.usage import UNKNOWN, Measured, of_anthropic


class MessageShape(Shape):
    """A message, or an error."""

    model: str | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None

    def told(self) -> Told:
        """Sum up; the usage has the tier."""
        usage = usage_object(self.usage)
        tier = usage.get("service_tier") if usage else None
        return Told(
            model=word(self.model),
            service_tier=word(tier) if isinstance(tier, str) else None,
            finish_reason=word(self.stop_reason),
            error=code_of(self.error),
            usage_raw=usage,
        )


class _Change(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: MessageShape | None = None
    delta: _Change | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


class Messages(Dialect):
    """The dialect of `/v1/messages`."""

    shape = MessageShape
    ends = ("model", "stop_reason", "usage")
    id_header = "request-id"

    def usage_of(self, raw: Mapping[str, Any] | None) -> Measured:
        """Read it from Anthropic's."""
        return of_anthropic(raw)

    def end_user(self, user: Any, metadata: msgspec.Raw) -> str | None:  # noqa: ARG002 (OpenAI's)
        """Read `metadata.user_id`."""
        try:
            told = _metadata_decoder.decode(metadata) if bytes(metadata) else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return word(told.user_id) if told is not None and isinstance(told.user_id, str) else None

    def text_of(self, body: bytes) -> str:
        """Give what all blocks say, with the calls of tools."""
        try:
            blocks = _blocks_decoder.decode(body).content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        return joined([text for block in blocks or () for text in block.texts()])

    def reader(self, *, hide_usage: bool = False) -> StreamReader:  # noqa: ARG002 (here usage comes unasked)
        """Make a reader for one stream."""
        return MessagesReader(self)

    def error(self, failure: Failure, request_id: str) -> dict[str, Any]:
        """Word it as Anthropic does."""
        kind = _KINDS.get(failure.status) or ("invalid_request_error" if failure.status < 500 else "api_error")  # noqa: PLR2004
        body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": failure.message}}
        return {**body, "request_id": request_id} if request_id else body

    def error_event(self, failure: Failure) -> bytes:
        """Word it as the event `error`."""
        return b"event: error\n" + super().error_event(failure)


_KINDS = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class CountTokens(Messages):
    """The dialect of `/v1/messages/count_tokens`, whose answer counts what was asked about, and uses nothing."""

    shape = MessageShape

    def measure(self, told: Told | None) -> Measured:  # noqa: ARG002
        """Nothing was used."""
        return UNKNOWN


class MessagesReader(StreamReader):
    """Reads the events of a message."""

    __slots__ = ()

    marks = (b"message_start", b"message_delta", b"message_stop", b'"error"')

    def take(self, data: bytes) -> bool:
        """Take in an event. What `message_delta` says of the usage is the sum so far: it replaces what was said."""
        try:
            event = _event_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if event.type == "message_start" and event.message is not None:
            self.learn(event.message.told())
        elif event.type == "message_delta":
            usage = usage_object(event.usage)
            if usage:
                told = {name: value for name, value in usage.items() if value is not None}
                self.usage_raw = {**(self.usage_raw or {}), **told}
            if event.delta is not None:
                self.finish_reason = word(event.delta.stop_reason) or self.finish_reason
        elif event.type == "message_stop":
            self.done = True
        elif event.type == "error" or event.error:
            self.error = code_of(event.error) or "upstream_error"
        return False

    def texts(self, batch: bytes) -> str:
        """Give what the events of deltas bring."""
        found = decode_events(batch, _delta_decoder, _delta_list_decoder)
        return joined([text for event in found for text in event.texts()])


class _Delta(msgspec.Struct):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    name: Any = None
    """Of a block that calls a tool."""


class _Brought(msgspec.Struct):
    delta: _Delta | None = None
    content_block: _Delta | None = None

    def texts(self) -> list[Any]:
        said = self.delta or self.content_block
        return [said.text, said.thinking, said.partial_json, said.name] if said else []


class _Block(msgspec.Struct):
    text: Any = None
    thinking: Any = None
    name: Any = None
    input: msgspec.Raw = msgspec.Raw()

    def texts(self) -> list[Any]:
        return [self.text, self.thinking, self.name, bytes(self.input).decode("utf-8", "replace")]


class _Blocks(msgspec.Struct):
    content: list[_Block] | None = None


class _Metadata(msgspec.Struct):
    user_id: Any = None


_metadata_decoder = msgspec.json.Decoder(_Metadata | None)
_event_decoder = msgspec.json.Decoder(_Event)
_delta_decoder = msgspec.json.Decoder(_Brought)
_delta_list_decoder = msgspec.json.Decoder(list[_Brought])
_blocks_decoder = msgspec.json.Decoder(_Blocks)

MESSAGES, COUNT_TOKENS = Messages(), CountTokens()
