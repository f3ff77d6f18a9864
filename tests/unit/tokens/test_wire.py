"""Messages between the gateway and the process that counts."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.tokens import wire

MESSAGES: list[wire.Request] = [
    wire.Piece(1, "gpt-4o", "chat", memoryview(b'{"messages":[]}'), last=True),
    wire.Piece(2, "模型", wire.TEXT, memoryview(b""), last=False),
    wire.Drop(2),
    wire.Piece(3, "", wire.TEXT, memoryview(b"\x00\xff" * 300), last=True),
]
STREAM = b"".join(map(wire.pack, MESSAGES))


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1)))
def test_how_the_socket_cuts_messages_never_matters(cuts: set[int]) -> None:
    messages = wire.requests()

    seen = [m for a, b in pairwise([0, *sorted(cuts), len(STREAM)]) for m in messages.feed(STREAM[a:b])]

    assert seen == MESSAGES


def test_answers_are_told_from_each_other() -> None:
    answers: list[wire.Answer] = [
        wire.Done(1, 65536),
        wire.Counted(1, 7),
        wire.Counted(2, None),
        wire.Failed("TableDamaged", ["a.py:3 f"]),
    ]
    messages = wire.answers()

    assert list(messages.feed(b"".join(map(wire.pack, answers)))) == answers


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", wire.pack(wire.Counted(1, 2))])
def test_what_is_no_message_is_refused_at_once(data: bytes) -> None:
    messages = wire.requests()

    with pytest.raises(msgspec.DecodeError):
        list(messages.feed(data))
