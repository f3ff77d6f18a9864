"""Chat, completions and embeddings, as OpenAI speaks and everybody copied it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_one_api.dialects.batches import decode_events
from llm_one_api.dialects.dialect import (
    LONGEST_WORD,
    Dialect,
    Shape,
    after,
    code_of,
    is_object,
    joined,
    usage_object,
    word,
)
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.dialects.told import Told
from llm_one_api.dialects.usage import Measured, of_input


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _OfGroq(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()


class ChatShape(Shape):
    """An answer or a chunk."""

    model: str | None = None
    service_tier: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    choices: list[_Choice] | None = None
    error: Any = None
    x_groq: msgspec.Raw = msgspec.Raw()
    """Where Groq tells a stream's usage to those who do not ask for it."""

    def told(self) -> Told:
        """Sum up; the first choice's reason to end counts."""
        reason = None
        for choice in self.choices or ():
            if choice.finish_reason:
                reason = choice.finish_reason[:LONGEST_WORD]
                break
        return Told(
            model=self.model and self.model[:LONGEST_WORD],
            service_tier=self.service_tier and self.service_tier[:LONGEST_WORD],
            finish_reason=reason,
            error=None if self.error is None else code_of(self.error),
            usage_raw=usage_object(self.usage) if not bytes(self.x_groq) else self._usage_of_groq(),
        )

    def _usage_of_groq(self) -> dict[str, Any] | None:
        try:
            return usage_object(self.usage) or usage_object(_groq_decoder.decode(self.x_groq).usage)
        except msgspec.DecodeError:
            return None


class Chat(Dialect):
    """The dialect of `/v1/chat/completions` and `/v1/completions`."""

    shape = ChatShape

    def read_ends(self, first: bytes, last: bytes, count: int = 0) -> Told | None:
        """Look for the finish reason too, which stands deeper."""
        told = super().read_ends(first, last, count)
        reason = after(b'"finish_reason"', last)
        if told is None or not isinstance(reason, str):
            return told
        return msgspec.structs.replace(told, finish_reason=word(reason))

    def text_of(self, body: bytes) -> str:
        """Give what all choices say, their reasoning, refusals and tool calls included."""
        try:
            return _texts_decoder.decode(body).text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""

    def reader(self, *, hide_usage: bool = False) -> ChatReader:
        """Make a reader for one stream."""
        return ChatReader(self, hide_usage=hide_usage)


class Embeddings(Chat):
    """The dialect of `/v1/embeddings`, whose usage is input alone."""

    def usage_of(self, raw: Mapping[str, Any] | None) -> Measured:
        """Read it, also from those who tell the total alone."""
        return of_input(raw)


class ChatReader(StreamReader):
    """Reads the chunks of a chat or of completions."""

    __slots__ = ("_decode", "_hide_usage")

    def __init__(self, dialect: Chat, *, hide_usage: bool = False) -> None:
        """With *hide_usage* take out the event of empty `choices` and usage: the caller did not ask."""
        super().__init__(dialect)
        self._hide_usage = hide_usage

    def count_marks(self, batch: bytes) -> int:
        """Count what may be usage, a finish reason, an error or the end, six times faster than a pattern does."""
        count = batch.count
        usage, finish = count(b'"usage"'), count(b'"finish_reason"')
        if usage:
            usage -= count(b'"usage":null')
        if finish:
            finish -= count(b'"finish_reason":null')
        return usage + finish + count(b"[DONE]") + count(b'"error"')

    def take(self, data: bytes) -> bool:
        """Take in a chunk; hide the one of empty `choices` and a usage object, if that is to be."""
        try:
            chunk = _chunk_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        self.learn(chunk.told())
        return self._hide_usage and chunk.choices == [] and is_object(chunk.usage)

    def texts(self, batch: bytes) -> str:
        """Give what all chunks bring. The usual ones bring a content and nothing else, and need not be decoded."""
        contents = _CONTENT.findall(batch)
        if contents and len(contents) == batch.count(b'"delta"'):
            try:
                return _text_decoder.decode(b'"%b"' % b"".join(contents))
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # one of them is no text after all
        return "".join([chunk.text for chunk in decode_events(batch, _texts_decoder, _text_list_decoder)])


# ---- the text of answers ----


_CONTENT = re.compile(
    rb'"delta":\{(?:"role":"assistant",)?"content":"([^"\\]*(?:\\.[^"\\]*)*)"(?:,"refusal":null)?\}', re.DOTALL
)
"""A delta with a content alone. Quotes in a text are escaped, so it is never in one."""


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Said(msgspec.Struct):
    """A message, or what a chunk adds to it. Members of another type make the whole chunk count for nothing."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None

    @property
    def text(self) -> str:
        content = self.content
        if isinstance(content, list):  # parts, as Mistral has them
            content = joined([part.get("text") for part in content if isinstance(part, dict)])
        # Who has both `reasoning` and `reasoning_content` says the same in both.
        pieces = [content, self.reasoning_content or self.reasoning, self.refusal]
        functions = [call.function for call in self.tool_calls or () if call.function]
        for function in [*functions, *([self.function_call] if self.function_call else [])]:
            pieces += [function.name, function.arguments]
        return joined(pieces)


class _SaidIn(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    text: Any = None


class _Texts(msgspec.Struct):
    choices: list[_SaidIn] | None = None

    @property
    def text(self) -> str:
        found = []
        for choice in self.choices or ():
            said = choice.delta or choice.message
            found.append(said.text if said else choice.text)
        return joined(found)


_groq_decoder = msgspec.json.Decoder(_OfGroq)
_chunk_decoder = msgspec.json.Decoder(ChatShape)
_texts_decoder = msgspec.json.Decoder(_Texts)
_text_decoder = msgspec.json.Decoder(str)
_text_list_decoder = msgspec.json.Decoder(list[_Texts])

CHAT, EMBEDDINGS = Chat(), Embeddings()
