"""Packs a batch's records for the broker: a tenth of the bytes, which each hand on the way would move again.

The worker's main process gives a message to Redis and to its pool as often as it takes it; in a parcel that costs
3 µs a record, and as plain lines 30.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

MOST_BYTES = 64 << 20
"""What a parcel may unpack to. A batch has some megabytes at most."""
_FAST = 1


def pack(lines: Sequence[str]) -> str:
    """Put *lines* (JSON, so without line ends) into one text of ASCII."""
    return b64encode(zlib.compress("\n".join(lines).encode(), _FAST)).decode()


def unpack(parcel: str) -> list[str]:
    """Take the lines out again. Raises ValueError if it is no parcel, or too large."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(b64decode(parcel, validate=True), MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"it is no parcel: {error}") from None
    if not unpacking.eof:
        raise ValueError("it is no whole parcel" if not unpacking.unconsumed_tail else "the parcel is too large")
    return text.decode().split("\n") if text else []
