"""What is read of a request's JSON body, and how it is written anew where a field must change. Bytes in, values out."""

from __future__ import annotations

from typing import Any

import msgspec


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
        b"\\u00" not in body
        and _stands_once(b'"model"', body, lower)
        and (
            lower.find(b'"stream') < 0
            or (_stands_once(b'"stream"', body, lower) and _stands_once(b'"stream_options"', body, lower))
        )
    )


def _stands_once(name: bytes, body: bytes, lower: bytes) -> bool:
    """Tell whether *name* stands in the body at most once, in whatever case, and then in ours."""
    count = lower.count(name)
    return count == 0 or (count == 1 and body.find(name) == lower.find(name))


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
