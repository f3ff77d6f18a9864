"""OpenAI's responses: an object with a status, and streams of typed events whose last one holds the whole object."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.dialects.batches import decode_events
from llm_one_api.dialects.dialect import Dialect, Failure, Shape, after, code_of, joined, usage_object, word
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.dialects.told import Told


class _Why(msgspec.Struct):
    reason: str | None = None


class ResponseShape(Shape):
    """A response. Also OpenAI's error object, which any answer may be."""

    model: str | None = None
    service_tier: str | None = None
    status: str | None = None
    incomplete_details: _Why | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None

    def told(self) -> Told:
        """Sum up: `incomplete` ends with its reason, `completed` with `stop`; `queued` goes on elsewhere."""
        why = self.incomplete_details.reason if self.incomplete_details else None
        return Told(
            model=word(self.model),
            service_tier=word(self.service_tier),
            finish_reason=word(why) or _REASONS.get(self.status or ""),
            error=code_of(self.error) or ("upstream_error" if self.status == "failed" else None),
            usage_raw=usage_object(self.usage),
            unfinished=self.status in {"queued", "in_progress"},
        )


_REASONS = {"completed": "stop", "incomplete": "incomplete", "cancelled": "cancelled"}


class _Event(msgspec.Struct):
    type: str = ""
    response: ResponseShape | None = None
    error: Any = None
    code: Any = None


class Responses(Dialect):
    """The dialect of `/v1/responses`."""

    shape = ResponseShape

    def read_ends(self, first: bytes, last: bytes, count: int = 0) -> Told | None:
        """Look for what stands at the front (status, reason, model) and at the end (usage)."""
        told = super().read_ends(first, last, count)
        status, details = after(b'"status"', first), after(b'"incomplete_details"', first)
        if told is None or not isinstance(status, str):
            return told
        why = details.get("reason") if isinstance(details, dict) else None
        reason = word(why) if isinstance(why, str) else _REASONS.get(status)
        return msgspec.structs.replace(told, finish_reason=reason)

    def text_of(self, body: bytes) -> str:
        """Give what was put out: texts, refusals, reasoning summaries, calls of tools."""
        try:
            items = _output_decoder.decode(body).output
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        return joined([text for item in items or () for text in item.texts()])

    def reader(self, *, hide_usage: bool = False) -> ResponsesReader:  # noqa: ARG002 (here usage comes unasked)
        """Make a reader for one stream."""
        return ResponsesReader(self)

    def error_event(self, failure: Failure) -> bytes:
        """Word it as the `error` event of this API, with the member that the SDK raises on."""
        event = {
            "type": "error",
            "code": failure.code,
            "message": failure.message,
            "param": failure.param,
            "error": self.error(failure, "")["error"],
        }
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


class ResponsesReader(StreamReader):
    """Reads the events of a response."""

    __slots__ = ()

    marks = (b"response.completed", b"response.failed", b"response.incomplete", b'"error"', b"[DONE]")

    def take(self, data: bytes) -> bool:
        """Take in an event: one of the three that end a response, or an error."""
        try:
            event = _event_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if event.type in _LAST and event.response is not None:
            self.learn(event.response.told())
            self.done = self.told_by_end = True
        elif event.type == "error" or event.error:
            self.error = code_of(event.error) or code_of({"code": event.code}) or "upstream_error"
            self.error_raises = bool(event.error)
        elif event.response is not None:
            self.model = event.response.model or self.model
        return False

    def texts(self, batch: bytes) -> str:
        """Give what the events of deltas bring."""
        found = decode_events(batch, _delta_decoder, _delta_list_decoder)
        return joined([event.delta for event in found if event.type in _DELTAS])


_LAST = frozenset({"response.completed", "response.failed", "response.incomplete"})
_DELTAS = frozenset({
    "response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta", "response.mcp_call_arguments.delta",
    "response.reasoning_text.delta", "response.reasoning_summary_text.delta",
    "response.code_interpreter_call_code.delta",
})  # fmt: skip


class _Delta(msgspec.Struct):
    type: str = ""
    delta: Any = None


class _Part(msgspec.Struct):
    text: Any = None
    refusal: Any = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    name: Any = None
    arguments: Any = None
    input: Any = None

    def texts(self) -> list[Any]:
        parts = [*(self.content or ()), *(self.summary or ())]
        return [*[p.text or p.refusal for p in parts], self.name, self.arguments, self.input]


class _Output(msgspec.Struct):
    output: list[_Item] | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_delta_decoder = msgspec.json.Decoder(_Delta)
_delta_list_decoder = msgspec.json.Decoder(list[_Delta])
_output_decoder = msgspec.json.Decoder(_Output)

RESPONSES = Responses()
