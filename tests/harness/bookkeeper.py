"""An upstream that answers in several ways, and writes down on its own which calls it received and what they used.

Each call carries a name in its body's `user`, which its record has as `end_user`. The name says of which kind the call
is, and its tokens follow from it, so that whose they are can be told wherever they turn up.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from llm_one_api.values import Outcome
from tests.harness.upstream import DONE, FINISH, Conversation, Upstream, chunk, delta, json_answer

EVENTS, EVENT_SECONDS = 6, 0.03

Seen = Literal["whole", "unfinished", "error", "left", "broken", "refused"]
"""How a caller sees a call end.

With all of its answer; with a stream that ends without its last event; with an error's status; by leaving; by the
connection's end; without a connection.
"""


class Kind(NamedTuple):
    """One of the ways in which calls go when nothing disturbs them."""

    body: Mapping[str, Any]
    """What it asks for, beside what all ask."""
    seen: Seen
    outcome: Outcome


_STREAM: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": False}}
_ASKED: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}

KINDS: Mapping[str, Kind] = {
    "plain": Kind({}, "whole", "success"),
    "stream": Kind(_STREAM, "whole", "success"),
    "asked": Kind(_ASKED, "whole", "success"),
    "untold": Kind(_STREAM, "whole", "success"),
    "left": Kind(_STREAM, "left", "client_gone"),
    "cut": Kind(_ASKED, "broken", "truncated"),
    "failing": Kind(_STREAM, "broken", "stream_error"),
    "bad": Kind({}, "error", "client_error"),
    "limited": Kind({}, "error", "upstream_error"),
    "down": Kind({}, "error", "upstream_error"),
}
"""`asked` asks for its usage itself; of `untold` the upstream does not tell it; of `left` the caller leaves at the
first event; `cut` and `failing` break in their middle, by a reset and by an error event; the others are refused."""

_REFUSALS = {"bad": (400, "invalid_request_error"), "limited": (429, "rate_limit_exceeded"), "down": (500, "server")}


def kind_of(name: str) -> str:
    """Tell of which kind the call *name* is, such as `storm.cut-17`."""
    return name.rpartition("-")[0].rpartition(".")[2]


class Used(NamedTuple):
    """The tokens of an answer, as the upstream told them; None: it did not."""

    prompt: int | None
    completion: int | None


def used(name: str) -> Used:
    """Tell what the answer to the call *name* uses."""
    if kind_of(name) == "untold":
        return Used(None, None)
    number = int(name.rpartition("-")[2])
    return Used(1000 + number, 1 + number % 7)


def provider_id(name: str) -> str:
    """Tell the id that the upstream gives to its answer to the call *name*."""
    return f"up-{name}"


class Bookkeeper(Upstream):
    """Answers in a while. What it writes down of an answer's end it writes just before it sends the end."""

    def __init__(self) -> None:
        super().__init__()
        self.received: Counter[str] = Counter()
        self.finished: dict[str, Used] = {}
        self.seconds: dict[str, float] = {}
        """How long it took over each call."""
        self.in_hand: set[str] = set()
        """The calls that it is answering now."""
        self.answer(self._take)

    def _take(self, talk: Conversation) -> None:
        name = json.loads(talk.body)["user"]
        began = time.monotonic()
        self.received[name] += 1
        self.in_hand.add(name)
        self.seen.clear()  # bodies of thousands of calls
        try:
            self._answer(talk, name)
        finally:
            self.in_hand.discard(name)
            self.seconds[name] = time.monotonic() - began

    def _answer(self, talk: Conversation, name: str) -> None:
        kind = kind_of(name)
        if kind in _REFUSALS:
            status, code = _REFUSALS[kind]
            error = json.dumps({"error": {"message": "No.", "type": code, "code": code}}).encode()
            json_answer(status, error, _id_header(name))(talk)
        elif KINDS[kind].body:
            self._stream(talk, name, kind)
        else:
            self._whole(talk, name)

    def _whole(self, talk: Conversation, name: str) -> None:
        talk.go.wait(EVENTS * EVENT_SECONDS / 2)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        answer = json.dumps({**_made(name), "object": "chat.completion", "choices": [choice]}).encode()
        self.finished[name] = used(name)
        json_answer(200, answer, _id_header(name))(talk)

    def _stream(self, talk: Conversation, name: str, kind: str) -> None:
        talk.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            + _id_header(name)
            + b"\r\n"
        )
        for number in range(EVENTS):
            talk.send(chunk(delta(f"{number} ")))
            talk.go.wait(EVENT_SECONDS)
            if number == EVENTS // 2 and kind == "cut":
                talk.reset()
                return
            if number == EVENTS // 2 and kind == "failing":
                error = {"error": {"message": "Too busy.", "type": "server_error", "code": "overloaded"}}
                talk.send(chunk(b"data: %b\n\n" % json.dumps(error).encode()) + b"0\r\n\r\n")
                return
        usage = {**_made(name), "object": "chat.completion.chunk", "choices": []}
        told = b"" if kind == "untold" else chunk(b"data: %b\n\n" % json.dumps(usage).encode())
        self.finished[name] = used(name)
        talk.send(chunk(FINISH) + told + chunk(DONE) + b"0\r\n\r\n")


def _made(name: str) -> dict[str, Any]:
    prompt, completion = used(name)
    tokens = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": (prompt or 0) + (completion or 0),
    }
    return {"id": provider_id(name), "created": 1, "model": "demo-2026", "usage": tokens}


def _id_header(name: str) -> bytes:
    return b"x-request-id: %b\r\n" % provider_id(name).encode()


@contextmanager
def bookkeeper() -> Iterator[Bookkeeper]:
    """Run one for the length of a block."""
    upstream = Bookkeeper()
    try:
        yield upstream
    finally:
        upstream.close()
