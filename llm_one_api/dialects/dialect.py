"""What a dialect is: how one kind of endpoint speaks. Bytes in, values out; no I/O, no clock.

A dialect is a shape of answers (a msgspec struct that knows what it tells), a reader of its streams, a function for its
usage, and how an error is worded in it. `docs/dialects.md` says what to add where.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from llm_one_api.dialects.reader import StreamReader
from llm_one_api.dialects.told import Told
from llm_one_api.dialects.usage import UNKNOWN, Measured, of_openai
from llm_one_api.values import Usage, Value

LONGEST_WORD, LONGEST_CODE = 200, 100
LONGEST_USAGE, MOST_NESTED = 16 * 1024, 64
"""Bytes, and objects and lists, of a usage object that is kept as it came."""


class Shape(msgspec.Struct):
    """The members of a JSON answer that are looked at; all else passes unread."""

    def told(self) -> Told:
        """Sum up what they tell."""
        raise NotImplementedError


class Failure(Value, frozen=True, kw_only=True):
    """An error of ours, as far as it is put into words on the wire."""

    status: int
    message: str
    type: str
    """As OpenAI calls it."""
    code: str | None
    param: str | None = None


class Dialect:
    """How one kind of endpoint speaks."""

    shape: ClassVar[type[Shape]]
    ends: ClassVar[tuple[str, ...]] = ("model", "service_tier", "usage")
    """The members that are looked for in the two ends of an answer too long to be held."""
    counted: ClassVar[bytes] = b""
    """What is counted in an answer too long to be held, where a figure hangs on it: the images."""
    id_header: ClassVar[str | None] = None
    """A header in which callers look for the request's id, beside `x-request-id`."""

    def __init__(self) -> None:
        """Make the decoder."""
        self._decode = msgspec.json.Decoder(self.shape).decode

    # -- requests --

    def end_user(self, user: Any, metadata: msgspec.Raw) -> str | None:  # noqa: ARG002 (Anthropic's)
        """Read the end user from a body's `user` or `metadata`."""
        return word(user) if isinstance(user, str) else None

    # -- answers --

    def read_answer(self, body: bytes) -> Told | None:
        """Read a JSON answer; None if it is none, or not of this shape."""
        try:
            return self._decode(body).told()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def read_ends(self, first: bytes, last: bytes, count: int = 0) -> Told | None:  # noqa: ARG002 (the images' own)
        """Read what a long answer tells of itself from its two ends alone: what is between is what was asked for."""
        members = {}
        for name in self.ends:
            value = after(b'"%b"' % name.encode(), last)
            members[name] = value if value is not None else after(b'"%b"' % name.encode(), first)
        return self.read_answer(msgspec.json.encode(members))

    def usage_of(self, raw: Mapping[str, Any] | None) -> Measured:
        """Read the canonical usage from the provider's own: OpenAI's, unless a dialect says otherwise."""
        return of_openai(raw)

    def measure(self, told: Told | None) -> Measured:
        """Give all that was used, as far as it is told."""
        if told is None:
            return UNKNOWN
        measured = self.usage_of(told.usage_raw)
        if told.images is None and told.audio_seconds is None:
            return measured
        usage = measured.usage or Usage()
        seconds = told.audio_seconds if usage.audio_seconds is None else usage.audio_seconds
        return Measured(msgspec.structs.replace(usage, images=told.images, audio_seconds=seconds), measured.faults)

    def text_of(self, body: bytes) -> str:  # noqa: ARG002
        """Give the text that a whole answer has, to count its tokens where they are not told."""
        return ""

    def reader(self, *, hide_usage: bool = False) -> StreamReader:  # noqa: ARG002 (chat's own)
        """Make a reader for one stream."""
        return StreamReader(self)

    # -- errors of ours --

    def error(self, failure: Failure, request_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Word an error as the body of an answer."""
        return {
            "error": {"message": failure.message, "type": failure.type, "param": failure.param, "code": failure.code}
        }

    def error_event(self, failure: Failure) -> bytes:
        """Word an error as an event that the official SDK raises on."""
        return b"data: " + msgspec.json.encode(self.error(failure, "")) + b"\n\n"


def word(text: str | None) -> str | None:
    """Cut what a record keeps to a sane length."""
    return text and text[:LONGEST_WORD]


def code_of(error: Any) -> str | None:
    """Give the provider's code for its error, else its type; never its message. None: there is no error."""
    if not isinstance(error, dict):
        return "upstream_error" if error else None
    for name in ("code", "type"):
        code = error.get(name)
        if isinstance(code, (str, int)) and str(code):
            return str(code)[:LONGEST_CODE]
    return "upstream_error"


def is_object(raw: msgspec.Raw) -> bool:
    """Tell whether a member is there and is an object, of whatever kind."""
    return bytes(raw).startswith(b"{")


def usage_object(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Read a usage object, if it can be kept: what is nested deeply could not be read again everywhere."""
    text = bytes(raw)
    if not text.startswith(b"{") or len(text) > LONGEST_USAGE or text.count(b"{") + text.count(b"[") > MOST_NESTED:
        return None
    try:
        decoded: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a number out of range, say: it was passed over unread
        return None
    return decoded


_values = json.JSONDecoder()


def after(name: bytes, text: bytes) -> Any:
    """Read the value of the last member called *name*: quotes inside a string are escaped, so it is never in one."""
    at = text.rfind(name)
    if at < 0:
        return None
    value = text[at + len(name) :].lstrip(b" \t\r\n").removeprefix(b":").lstrip(b" \t\r\n")
    try:
        return _values.raw_decode(value.decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None


def joined(pieces: list[Any]) -> str:
    """Join the texts among *pieces*, which come from anybody's JSON."""
    return "".join([piece for piece in pieces if isinstance(piece, str)])
