"""What the gateway and the process that counts say to each other: MessagePack behind a length, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

FRAME = 64 * 1024
"""Bytes of a text or a body that are sent at a time, so that a long one is no obstacle to others."""
MOST = 4 * FRAME
"""Bytes; no message is longer."""
TEXT = "text"
"""The kind of a text that is not a request's body."""

M = TypeVar("M")
_LENGTH = 4


class Piece(msgspec.Struct, frozen=True, array_like=True, tag="piece"):
    """More of what has to be counted, as task *task*."""

    task: int
    model: str
    kind: str
    """`TEXT`, or a kind of body."""
    data: memoryview
    last: bool


class Drop(msgspec.Struct, frozen=True, array_like=True, tag="drop"):
    """Forget a task, as far as it has come."""

    task: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """So many bytes of a task were worked off, and need no more room."""

    task: int
    size: int


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted"):
    """A task is over. None: it cannot be counted."""

    task: int
    tokens: int | None


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The process has to end. What it says holds no text of any call."""

    kind: str
    where: list[str]


Request = Piece | Drop
Answer = Done | Counted | Failed


def pack(message: Request | Answer) -> bytes:
    """Write a message."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


class Unpacker(Generic[M]):
    """Reads messages from what arrives, however it is cut."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[M]) -> None:
        """Have each read by *decoder*."""
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Give the messages that are complete. Raises msgspec.DecodeError at what is none."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(buffer[:_LENGTH], "big")
            if end > _LENGTH + MOST:
                raise msgspec.DecodeError("a message that is too long")
            if len(buffer) < end:
                return
            message = self._decoder.decode(buffer[_LENGTH:end])
            del buffer[:end]
            yield message


def requests() -> Unpacker[Request]:
    """Read what the gateway says."""
    return Unpacker(msgspec.msgpack.Decoder(Request))


def answers() -> Unpacker[Answer]:
    """Read what the process says."""
    return Unpacker(msgspec.msgpack.Decoder(Answer))
