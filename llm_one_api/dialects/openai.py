"""How OpenAI's API speaks: what we read of requests and answers. Bytes in, values out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_one_api.values import Usage

# ---- requests ----


class Asked(msgspec.Struct, frozen=True):
    """The few fields of a request's body that the gateway needs; the rest passes unread."""

    model: str
    stream: bool | None = None
    stream_options: msgspec.Raw = msgspec.Raw()
    """As it stands in the body; empty: it does not."""
    user: Any = None

    @property
    def end_user(self) -> str | None:
        """The body's `user`, if it is one."""
        return self.user[:200] if isinstance(self.user, str) else None

    @property
    def wants_usage(self) -> bool:
        """Tell whether the caller asked for the usage chunk of a stream."""
        if not bytes(self.stream_options):
            return False
        try:
            options = msgspec.json.decode(self.stream_options, type=_StreamOptions | None)
        except msgspec.ValidationError:
            return True  # not ours to judge: the upstream will
        return options is not None and options.include_usage is True


class _StreamOptions(msgspec.Struct):
    include_usage: Any = None


_asked = msgspec.json.Decoder(Asked)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS = {"include_usage": True}
_DECIDING = frozenset({"model", "stream", "stream_options"})


def read_request(body: bytes) -> Asked:
    """Read a request's body. Raises msgspec.DecodeError or msgspec.ValidationError (with a path) if it is none."""
    return _asked.decode(body)


def is_plain(body: bytes) -> bool:
    r"""Tell whether each field that decides something surely stands in *body* once, so that no parser can read another.

    A name may also be written with escapes (`"mod\u0065l"`), or in another case, which some parsers take for the same.
    """
    lower = body.lower()
    return (
        lower.count(b'"model"') == 1
        and b"\\u00" not in lower
        and all(lower.count(name) == body.count(name) <= 1 for name in (b'"stream"', b'"stream_options"'))
    )


def rewrite(body: bytes, *, model: str | None = None, ask_usage: bool = False) -> bytes:
    """Write the body anew: each member once, in order and as it was, but with *model*, and asking for usage.

    Members that differ from ours in case alone are left out.
    """
    members = {n: v for n, v in _members.decode(body).items() if n in _DECIDING or n.lower() not in _DECIDING}
    if model is not None:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    if ask_usage:
        options = members.get("stream_options")
        given = msgspec.json.decode(options, type=dict[str, msgspec.Raw] | None) if options is not None else None
        members["stream_options"] = msgspec.Raw(msgspec.json.encode({**(given or {}), **_OURS}))
    return msgspec.json.encode(members)


def with_usage_asked(body: bytes) -> bytes:
    """Ask for the usage chunk in a body that has no `stream_options`, by adding a member in front."""
    brace = body.index(b"{")
    return body[: brace + 1] + b'"stream_options":{"include_usage":true},' + body[brace + 1 :]


# ---- usage ----

MOST_TOKENS = 2**40
"""A figure above this is no count of tokens."""
LONGEST_USAGE, MOST_NESTED = 16 * 1024, 64
"""Bytes, and objects and lists, of a usage object that is kept as it came."""


def usage_of(raw: Mapping[str, Any] | None) -> Usage | None:
    """Read a usage object of chat, completions or embeddings; a figure that cannot be is unknown; None: all are."""
    if not raw:
        return None
    prompt, completion = _figure(raw, "prompt_tokens"), _figure(raw, "completion_tokens")
    total = _figure(raw, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    inputs, outputs = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cache_read_tokens=_figure(inputs, "cached_tokens"),
        audio_input_tokens=_figure(inputs, "audio_tokens"),
        reasoning_tokens=_figure(outputs, "reasoning_tokens"),
        audio_output_tokens=_figure(outputs, "audio_tokens"),
        accepted_prediction_tokens=_figure(outputs, "accepted_prediction_tokens"),
        rejected_prediction_tokens=_figure(outputs, "rejected_prediction_tokens"),
    )


def _figure(told: Any, name: str) -> int | None:
    """Read one figure of an object, if it is one and can be true."""
    value = told.get(name) if isinstance(told, Mapping) else None
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


# ---- answers ----

_LONGEST_WORD = 200


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class Told(msgspec.Struct):
    """What an answer, or one chunk of a stream, tells of itself."""

    model: str | None = None
    service_tier: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    """As it stands there; empty: it does not."""
    choices: list[_Choice] | None = None
    error: Any = None

    def __post_init__(self) -> None:
        """Cut what a record keeps to a sane length."""
        if self.model is not None:
            self.model = self.model[:_LONGEST_WORD]
        if self.service_tier is not None:
            self.service_tier = self.service_tier[:_LONGEST_WORD]

    @property
    def has_usage(self) -> bool:
        """Whether there is a usage object, of whatever kind."""
        return bytes(self.usage).startswith(b"{")

    @property
    def usage_raw(self) -> dict[str, Any] | None:
        """The usage object, if it can be kept: what is nested deeply could not be read again everywhere."""
        text = bytes(self.usage)
        if not self.has_usage or len(text) > LONGEST_USAGE or text.count(b"{") + text.count(b"[") > MOST_NESTED:
            return None
        try:
            decoded: dict[str, Any] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a number out of range, say: it was passed over unread
            return None
        return decoded

    @property
    def finish_reason(self) -> str | None:
        """The first choice's reason to end."""
        return next((c.finish_reason[:_LONGEST_WORD] for c in self.choices or () if c.finish_reason), None)

    @property
    def error_code(self) -> str | None:
        """The provider's code for its error, else its type; never its message."""
        if not isinstance(self.error, dict):
            return "upstream_error" if self.error else None
        for name in ("code", "type"):
            code = self.error.get(name)
            if isinstance(code, (str, int)) and str(code):
                return str(code)[:100]
        return "upstream_error"


_told = msgspec.json.Decoder(Told)
_ends = json.JSONDecoder()


def read_answer(body: bytes) -> Told | None:
    """Read a JSON answer; None if it is none, or not of this shape."""
    try:
        return _told.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_ends(first: bytes, last: bytes) -> Told | None:
    """Read what a long answer tells of itself from its two ends alone: what is between is what was asked for."""
    members = {}
    for name in ("model", "service_tier", "usage"):
        value = _after(b'"%b"' % name.encode(), last)
        members[name] = value if value is not None else _after(b'"%b"' % name.encode(), first)
    reason = _after(b'"finish_reason"', last)
    return read_answer(msgspec.json.encode({**members, "choices": [{"finish_reason": reason}]}))


def _after(name: bytes, text: bytes) -> Any:
    """Read the value of the last member called *name*: quotes inside a string are escaped, so it is never in one."""
    at = text.rfind(name)
    if at < 0:
        return None
    value = text[at + len(name) :].lstrip(b" \t\r\n").removeprefix(b":").lstrip(b" \t\r\n")
    try:
        return _ends.raw_decode(value.decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None
