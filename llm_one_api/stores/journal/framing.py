"""How an entry stands in a file: magic, length, CRC, payload. Bytes in, frames out; no file is touched here."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

MAGIC = b"\xc1LO\xc1"
"""0xC1 stands neither in UTF-8 nor as a type in msgpack, so text in a payload is never taken for a frame."""

MAX_PAYLOAD = 4 << 20
"""A length above this is damage, not an entry."""

_HEADER = Struct("<4sII")
HEADER_SIZE = _HEADER.size
_pack = _HEADER.pack
_unpack = _HEADER.unpack_from


class Frame(NamedTuple):
    """A whole entry and where it stands, counted from the start of what was scanned."""

    start: int
    end: int
    payload: bytes


class Scan(NamedTuple):
    """What was found in a piece of a segment."""

    frames: list[Frame]
    consumed: int
    """What comes next begins here; less than all if the last entry is not yet whole."""
    corrupt: int
    """How many stretches were damaged and skipped."""
    torn: bool
    """The piece was the last one and ends in the middle of an entry."""


def frame(payload: bytes) -> bytes:
    """Wrap *payload*."""
    return _pack(MAGIC, len(payload), crc32(payload)) + payload


def scan(data: bytes, *, final: bool) -> Scan:
    """Take the whole entries out of *data*; *final* says that nothing will ever follow it.

    A frame of which the end is missing waits for it, or is torn if this is *final*; unless a whole one stands behind
    it: entries are written one after the other, so then its length is damaged.
    """
    frames: list[Frame] = []
    at, size, corrupt, skipped, torn = 0, len(data), 0, False, False
    while at < size:
        whole = _frame_at(data, at)
        if whole is not None:
            frames.append(whole)
            at, corrupt, skipped = whole.end, corrupt + skipped, False
        elif _may_become_whole(data, at) and not _whole_after(data, at + 1):
            if final:
                at, torn = size, True
            break
        else:
            skipped = True
            at = _next_magic(data, at + 1, final=final)
    return Scan(frames, at, corrupt + skipped, torn)


def _frame_at(data: bytes, at: int) -> Frame | None:
    begin = at + HEADER_SIZE
    if begin > len(data):
        return None
    magic, length, crc = _unpack(data, at)
    if magic != MAGIC or length > MAX_PAYLOAD:
        return None
    payload = data[begin : begin + length]
    if len(payload) != length or crc32(payload) != crc:
        return None
    return Frame(at, begin + length, payload)


def _may_become_whole(data: bytes, at: int) -> bool:
    """Tell whether what is missing at *at* is only its end."""
    if at + HEADER_SIZE > len(data):
        return MAGIC.startswith(data[at : at + len(MAGIC)])
    magic, length, _ = _unpack(data, at)
    return bool(magic == MAGIC and length <= MAX_PAYLOAD and at + HEADER_SIZE + length > len(data))


def _whole_after(data: bytes, at: int) -> bool:
    found = data.find(MAGIC, at)
    while found >= 0:
        if _frame_at(data, found) is not None:
            return True
        found = data.find(MAGIC, found + 1)
    return False


def _next_magic(data: bytes, at: int, *, final: bool) -> int:
    found = data.find(MAGIC, at)
    if found >= 0:
        return found
    if not final:  # its first bytes may be the last ones here
        for length in range(len(MAGIC) - 1, 0, -1):
            if len(data) - length >= at and data.endswith(MAGIC[:length]):
                return len(data) - length
    return len(data)
