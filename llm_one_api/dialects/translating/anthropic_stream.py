"""A stream of Anthropic's events as one of OpenAI's chunks."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.dialects import sse
from llm_one_api.dialects.dialect import usage_object
from llm_one_api.dialects.translating import anthropic_answer as answers

_encode = msgspec.json.encode


class _Delta(msgspec.Struct, gc=False):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_details: answers.StopDetails | None = None


class _Begun(msgspec.Struct):
    id: str = ""
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: answers.Block | None = None
    message: _Begun | None = None
    usage: msgspec.Raw = msgspec.Raw()


class _Strange(msgspec.Struct):
    """An event of another shape, which may be an error all the same."""

    type: Any = None
    error: Any = None


_event = msgspec.json.Decoder(_Event)
_strange = msgspec.json.Decoder(_Strange)


def _is_error(data: bytes) -> bool:
    try:
        event = _strange.decode(data)
    except (ValueError, RecursionError):
        return False
    return event.type == "error" or bool(event.error)


class _Call:
    """A tool's call that is being streamed."""

    __slots__ = ("arguments", "head")

    def __init__(self, position: int, block: answers.Block) -> None:
        self.head = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % position
        self.arguments = block.arguments
        """All of them, if none come piece by piece; of a tool that takes none, none do."""


class Stream:
    """Translates whole events as they come; what it cannot read, and kinds that it does not know, it passes over.

    Texts become `content`, thoughts `reasoning_content`, and the calls of tools are counted from 0. What is left out of
    a whole message is left out here too, signatures among it: without them Anthropic takes no thoughts back. After an
    error, which the official SDK raises on, nothing follows, not even `[DONE]`.
    """

    __slots__ = (
        "_calls",
        "_created",
        "_ended",
        "_finished",
        "_include_usage",
        "_model",
        "_prefix",
        "_started",
        "_usage",
    )

    def __init__(self, *, model: str, created: int, include_usage: bool) -> None:
        """*model* holds if the stream does not name its own; *include_usage*: the caller asked for the usage chunk."""
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._prefix = self._head("", model)
        self._calls: dict[int, _Call] = {}
        self._started = self._finished = self._ended = False
        self._usage: dict[str, Any] = {}

    def feed(self, batch: bytes, whole: bool = True) -> bytes:
        """Take complete events of Anthropic's; give complete events of OpenAI's, or none.

        Raises ValueError if they are not *whole*: an event was too long to be held.
        """
        if not whole:
            raise ValueError("an event too long to be translated")
        return b"".join([self._translate(sse.data_of(event)) for event in sse.events(batch)])

    def _translate(self, data: bytes) -> bytes:
        if not data or self._ended:
            return b""
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError):
            return self._fail(data) if _is_error(data) else b""
        if event.type == "content_block_delta":
            return self._continue(event.index, event.delta) if event.delta else b""
        if event.type == "content_block_start":
            return self._begin(event.index, event.content_block) if event.content_block else b""
        if event.type == "content_block_stop":
            return self._end(event.index)
        if event.type == "message_start":
            return self._start(event.message or _Begun())
        if event.type == "message_delta":
            return self._finish(event)
        if event.type == "message_stop":
            return self._stop()
        return self._fail(data) if event.type == "error" else b""

    # -- chunks --

    def _head(self, name: str, model: str) -> bytes:
        chunk = {"id": name, "object": "chat.completion.chunk", "created": self._created, "model": model}
        return b"data: " + _encode(chunk)[:-1] + b',"choices":['

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        return b'%b{"index":0,"delta":%b,"finish_reason":%b}]}\n\n' % (self._prefix, delta, finish_reason)

    # -- the message --

    def _start(self, begun: _Begun) -> bytes:
        self._prefix = self._head(begun.id, begun.model or self._model)
        self._learn(begun.usage)
        if self._started:
            return b""
        self._started = True
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _learn(self, usage: msgspec.Raw) -> None:
        """Keep the figures that are told: they are those of all that came so far, not of the part since."""
        told = usage_object(usage) or {}
        self._usage |= {name: figure for name, figure in told.items() if figure is not None}

    def _finish(self, event: _Event) -> bytes:
        self._learn(event.usage)
        delta = event.delta
        if delta is None or delta.stop_reason is None or self._finished:
            return b""
        self._finished = True
        why = delta.stop_details.explanation if delta.stop_details else None
        refusal = _encode({"refusal": why}) if why else b"{}"
        return self._chunk(refusal, _encode(answers.finish_reason(delta.stop_reason)))

    def _stop(self) -> bytes:
        self._ended = True
        usage = answers.usage(self._usage) if self._include_usage else None
        if usage is None:
            return b"data: [DONE]\n\n"
        return self._prefix + b'],"usage":' + _encode(usage) + b"}\n\ndata: [DONE]\n\n"

    def _fail(self, data: bytes) -> bytes:
        self._ended = True
        return sse.event_of(_encode(answers.error_object(data, "The upstream broke off its answer.", "api_error")))

    # -- its blocks --

    def _begin(self, index: int, block: answers.Block) -> bytes:
        if block.type == "tool_use":
            position = len(self._calls)
            self._calls[index] = _Call(position, block)
            function = {"name": block.name, "arguments": ""}
            call = {"index": position, "id": block.id, "type": "function", "function": function}
            return self._chunk(_encode({"tool_calls": [call]}))
        if block.type == "text":
            return self._continue(index, _Delta(text=block.text))
        if block.type == "thinking":
            return self._continue(index, _Delta(thinking=block.thinking))
        return b""

    def _continue(self, index: int, delta: _Delta) -> bytes:
        if delta.text:
            return self._chunk(b'{"content":%b}' % _encode(delta.text))
        if delta.partial_json:
            call = self._calls.get(index)
            if call is None:  # of a tool that Anthropic runs itself
                return b""
            call.arguments = ""
            return self._arguments(call, delta.partial_json)
        if delta.thinking:
            return self._chunk(b'{"reasoning_content":%b}' % _encode(delta.thinking))
        return b""

    def _end(self, index: int) -> bytes:
        call = self._calls.get(index)
        if call is None or not call.arguments:
            return b""
        return self._arguments(call, call.arguments)

    def _arguments(self, call: _Call, piece: str) -> bytes:
        return self._chunk(b"%b%b}}]}" % (call.head, _encode(piece)))
