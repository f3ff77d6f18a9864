"""What the upstream plays in one exchange: bytes, pauses, and an end, with the truth about them beside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from llm_one_api.values import Outcome, Usage, Value

CASE = b"$CASE"
"""Stands in scripts and requests for the name of the exchange, by which the upstream knows what to play."""

JSON, SSE = "application/json", "text/event-stream; charset=utf-8"


class Pause(Value, frozen=True, kw_only=True, tag=True):
    """Send nothing for a while."""

    seconds: float


class Hold(Value, frozen=True, kw_only=True, tag=True):
    """Send nothing until the case says so, or the gateway has hung up."""


HOLD = Hold()
Step = bytes | Pause | Hold
End = Literal["clean", "close", "reset", "wait"]
"""`close` and `reset` break the message off; `wait` sends nothing more until the gateway hangs up."""


class Script(Value, frozen=True, kw_only=True):
    """One answer. What it says of usage, model and so on is the upstream's word: the gateway's record must agree."""

    steps: tuple[Step, ...] = ()
    """The body, each piece by a write of its own."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    id_header: str = "x-request-id"
    """Which header names the request, as OpenAI and Anthropic do."""
    framing: Literal["length", "chunked", "close"] = "length"
    before: tuple[Step, ...] = ()
    """What comes before the head."""
    head: bool = True
    """Whether there is an answer at all."""
    end: End = "clean"
    outcome: Outcome = "success"
    """What such an answer must come to."""
    usage: Usage | None = None
    """What it tells of usage, in canonical figures. None: nothing."""
    usage_raw: Mapping[str, Any] | None = None
    """The usage object in it."""
    model: str | None = None
    """The model that it says has answered."""
    finish_reason: str | None = None
    service_tier: str | None = None

    @property
    def body(self) -> bytes:
        """All that a whole reader would get."""
        return b"".join(step for step in self.steps if isinstance(step, bytes))

    def but(self, **changes: Any) -> Script:
        """Make another of it."""
        return msgspec.structs.replace(self, **changes)


def whole(answer: Any, **more: Any) -> Script:
    """Answer in one piece, with *answer* as JSON."""
    return Script(steps=(encoded(answer),), **more)


def stream(*events: Step, **more: Any) -> Script:
    """Answer with a stream of events, each sent by itself."""
    return Script(steps=events, **{"headers": (("Content-Type", SSE),), "framing": "chunked", **more})


def refusal(status: int, error: Any, **more: Any) -> Script:
    """Answer with an error."""
    return whole(error, status=status, **more)


def encoded(value: Any) -> bytes:
    """Write JSON as providers do: compact, and UTF-8 as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(data: Any, name: str | None = None) -> bytes:
    """Write one server-sent event; *data* is JSON, or bytes as they are."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + (data if isinstance(data, bytes) else encoded(data)) + b"\n\n"


DONE = event(b"[DONE]")


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Cut *data* into pieces of *size* bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
