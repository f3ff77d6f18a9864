"""What of a request's body the model reads: texts, and the tokens around them. Bytes in, pieces out.

The framing is the one that OpenAI publishes (its cookbook, "How to count tokens with tiktoken"). Images, sounds and
files are not counted, nor what a provider adds by itself. What stands in a body but is never read, such as an image in
base64, is passed over undecoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from llm_one_api.tokens.tools import Framing, Piece, tools_of

PER_MESSAGE, PER_NAME, REPLY = 3, 1, 3
"""Tokens around each message, for its `name`, and for the beginning of the answer."""
_INTEGERS = re.compile(rb"[0-9,\[\] \t\r\n]*")


class Unknowable(Exception):
    """The input is not in the body, or not in a shape that we know."""


def pieces(kind: str, body: bytes | bytearray, framing: Framing) -> Iterator[Piece]:
    """Give the pieces of a body of this *kind* one by one.

    Raises Unknowable, msgspec.DecodeError, UnicodeDecodeError, RecursionError or MemoryError, also midway, where the
    body does not fit.
    """
    read = KINDS.get(kind)
    if read is None:
        raise Unknowable
    return read(body, framing)


# ---- chat ----


class _Chat(msgspec.Struct):
    messages: list[msgspec.Raw]
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None


class _Part(msgspec.Struct):
    """A part of a content that consists of parts. Those without a text are not counted."""

    text: str | None = None
    refusal: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None
    custom: _Function | None = None


_Content = str | list[_Part] | None


def _chat(body: bytes | bytearray, framing: Framing) -> Iterator[Piece]:
    chat = msgspec.json.decode(body, type=_Chat)
    yield REPLY
    for message in chat.messages:
        yield PER_MESSAGE
        for name, value in msgspec.json.decode(message, type=dict[str, msgspec.Raw]).items():
            yield from _field(name, value)
    yield from tools_of([*(chat.tools or ()), *(chat.functions or ())], framing)


def _field(name: str, value: msgspec.Raw) -> Iterator[Piece]:
    """Count a field of a message: each text, whatever its name is, and what may hold texts."""
    if _first(value) == b'"':
        if name == "name":
            yield PER_NAME
        yield msgspec.json.decode(value, type=str)
    elif name == "content":
        yield from _texts(msgspec.json.decode(value, type=_Content))
    elif name == "tool_calls":
        for call in msgspec.json.decode(value, type=list[_ToolCall] | None) or ():
            yield from _call(call.function or call.custom)
    elif name == "function_call":
        yield from _call(msgspec.json.decode(value, type=_Function | None))


def _first(value: msgspec.Raw) -> bytes:
    """Give the first byte of a value, which tells its type; none: it is not there."""
    return bytes(memoryview(value)[:1])


def _call(function: _Function | None) -> Iterator[str]:
    if function is not None:
        yield from (text for text in (function.name, function.arguments, function.input) if text)


def _texts(content: _Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    else:
        for part in content or ():
            yield from (text for text in (part.text, part.refusal) if text)


# ---- responses ----


class _Responses(msgspec.Struct):
    input: msgspec.Raw
    instructions: str | None = None
    tools: list[msgspec.Raw] | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None


class _Item(msgspec.Struct):
    role: str | None = None
    content: _Content = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: _Content = None
    summary: list[_Part] | None = None


def _responses(body: bytes | bytearray, framing: Framing) -> Iterator[Piece]:
    asked = msgspec.json.decode(body, type=_Responses)
    if asked.previous_response_id or asked.conversation or asked.prompt:
        raise Unknowable  # the provider keeps a part of it
    yield REPLY
    if asked.instructions:
        yield from (PER_MESSAGE, "system", asked.instructions)
    given = msgspec.json.decode(asked.input, type=str | list[msgspec.Raw])
    if isinstance(given, str):
        yield from (PER_MESSAGE, "user", given)
    else:
        for raw in given:
            item = msgspec.json.decode(raw, type=_Item)
            yield PER_MESSAGE
            yield from (text for text in (item.role, item.name, item.arguments, item.input) if text)
            for content in (item.content, item.output, item.summary):
                yield from _texts(content)
    yield from tools_of(asked.tools or (), framing)


# ---- messages (Anthropic) ----


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]
    system: str | list[_Part] | None = None
    tools: list[msgspec.Raw] | None = None


class _Block(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    source: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Source(msgspec.Struct):
    type: str | None = None
    data: msgspec.Raw = msgspec.Raw()


def _messages(body: bytes | bytearray, framing: Framing) -> Iterator[Piece]:
    asked = msgspec.json.decode(body, type=_Messages)
    yield REPLY
    if asked.system:
        yield from (PER_MESSAGE, "system")
        yield from _texts(asked.system)
    for raw in asked.messages:
        message = msgspec.json.decode(raw, type=_Message)
        yield from (PER_MESSAGE, message.role)
        yield from _blocks(message.content)
    yield from tools_of(asked.tools or (), framing)


def _blocks(content: str | list[_Block]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        yield from (text for text in (block.text, block.thinking, block.name) if text)
        if block.input:
            yield bytes(block.input).decode()  # a tool's arguments, as they stand there
        if _first(block.content) in {b'"', b"["}:  # a tool's result; of some other blocks it is an object
            yield from _blocks(msgspec.json.decode(block.content, type=str | list[_Block]))
        if _first(block.source) == b"{":
            source = msgspec.json.decode(block.source, type=_Source)
            if source.type == "text":
                yield msgspec.json.decode(source.data, type=str)


# ---- texts in named fields ----


_NULL = msgspec.Raw(b"null")


def _fields(*names: str) -> Callable[[bytes | bytearray, Framing], Iterator[Piece]]:
    """Make a reader for bodies whose first of *names* must hold texts, and whose others may."""

    def read(body: bytes | bytearray, _: Framing) -> Iterator[Piece]:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        yield from _listed(members.get(names[0], _NULL))
        for name in names[1:]:
            if name in members and members[name] != _NULL:
                yield from _listed(members[name])

    return read


def _listed(value: msgspec.Raw) -> Iterator[Piece]:
    """Count a text, a list of texts or of objects with one, or what consists of integers: those are tokens already."""
    if _INTEGERS.fullmatch(value):
        raw = bytes(value)
        yield raw.count(b",") + 1 if raw.strip(b"[] \t\r\n") else 0
        return
    given = msgspec.json.decode(value, type=str | list[str | _Part])  # null is neither
    if isinstance(given, str):
        yield given
    else:
        for each in given:
            yield from (each,) if isinstance(each, str) else _texts([each])


KINDS: Mapping[str, Callable[[bytes | bytearray, Framing], Iterator[Piece]]] = MappingProxyType(
    {
        "chat": _chat,
        "completions": _fields("prompt", "suffix"),
        "embeddings": _fields("input"),
        "responses": _responses,
        "messages": _messages,
        "moderations": _fields("input"),
        "rerank": _fields("query", "documents"),
        "images": _fields("prompt"),
        "speech": _fields("input", "instructions"),
    }
)
"""The kinds of bodies that can be counted. Another is one more row, and a function if it is shaped otherwise."""
