"""What is read of a request's JSON body, and how it is written anew where a field must change. Bytes in, values out."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

MOST_TOKENS, MOST_CHOICES = 2**31, 128
"""What a request may ask for at most."""

Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)] | None
Choices = Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None


class Asked(msgspec.Struct, frozen=True):
    """The few fields of a request's body that the gateway needs; the rest passes unread."""

    model: str = ""
    """Empty: it is not named."""
    stream: bool | None = None
    stream_options: msgspec.Raw = msgspec.Raw()
    """As it stands in the body; empty: it does not."""
    stream_format: Any = None
    """`sse` asks speech for a stream of events."""
    user: Any = None
    metadata: msgspec.Raw = msgspec.Raw()
    max_tokens: Tokens = None
    """How much may be put out in an answer: this of chats, completions and messages,"""
    max_completion_tokens: Tokens = None
    """this of chats too,"""
    max_output_tokens: Tokens = None
    """and this of responses. None: it is not said."""
    n: Choices = None
    """How many answers are wanted."""
    best_of: Choices = None
    """Of how many answers the best are wanted; all of them are put out."""
    prompt: msgspec.Raw = msgspec.Raw()
    """Of completions. A list may hold several, and each is answered."""

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
COUNTS = {
    "max_tokens": MOST_TOKENS,
    "max_completion_tokens": MOST_TOKENS,
    "max_output_tokens": MOST_TOKENS,
    "n": MOST_CHOICES,
    "best_of": MOST_CHOICES,
}
"""The members that say how much is asked for, and the most that each may be."""
_DECIDING = frozenset({"model", "stream", "stream_options", "prompt", *COUNTS})
_USUAL = _DECIDING | {
    "messages", "input", "instructions", "system", "temperature", "top_p", "tools", "tool_choice", "response_format",
    "stop", "seed", "user", "metadata", "frequency_penalty", "presence_penalty", "logprobs", "reasoning_effort",
}  # fmt: skip
"""Names that need no second look."""
_NO_NUMBER = re.compile(rb'"(%b)"\s*:\s*(?:NaN|[+-]?Infinity|[+-]?\.|\+|-?0\d|-?\d+\.\D)' % "|".join(COUNTS).encode())


def read_request(body: bytes) -> Asked:
    """Read a request's body. Raises msgspec.DecodeError or msgspec.ValidationError (with a path) if it is none."""
    return _asked.decode(body)


def no_number(body: bytes) -> str | None:
    """Name the member that has what looks like a number and is none in JSON, such as NaN, in a body that is no JSON."""
    found = _NO_NUMBER.search(body)
    return None if found is None else found[1].decode()


def is_plain(body: bytes) -> bool:
    r"""Tell whether each field that decides something surely stands in *body* once, so that no parser can read another.

    Some parsers take the first of two members of the same name, others the last, and some take a name in another case
    for the same (Go's also with a long s). A name may be written with escapes (`"mod\u0065l"`), too.
    """
    members = _members.decode(body)
    if not _USUAL.issuperset(members) and not all(map(_is_exact, members)):
        return False
    # Written anew, each member stands once; and most bodies are written in one of these two ways.
    compact = msgspec.json.encode(members)
    if compact == body:
        return True
    blanks = len(body) - len(compact)
    del compact  # it may be large
    if blanks == 2 * len(members) - 1 and b"".join(_spaced(members)) == body:
        return True
    deciding = [b'"%b"' % name.encode() for name in members if name in _DECIDING]
    return b"\\u00" not in body and all(body.count(name) == 1 for name in deciding)


def _spaced(members: dict[str, msgspec.Raw]) -> list[Any]:
    """Give the pieces of a body that has a blank behind each colon and comma."""
    pieces: list[Any] = []
    for name, value in members.items():
        pieces += (b', "%b": ' % name.encode(), value)
    return [b'{"', pieces[0][3:], *pieces[1:], b"}"]


def _is_exact(name: str) -> bool:
    """Tell whether nobody can take *name* for that of a field that decides something, unless it is that."""
    return name in _DECIDING or name.casefold() not in _DECIDING


def rewrite(body: bytes, *, model: str | None = None, ask_usage: bool = False) -> bytes:
    """Write the body anew: each member once, in order and as it was, but with *model*, and asking for usage.

    Members that differ from ours in case alone are left out.
    """
    members = {name: value for name, value in _members.decode(body).items() if _is_exact(name)}
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
