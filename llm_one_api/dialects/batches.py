"""Decodes the events of a batch: the usual ones, each a line of JSON, in one go."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from llm_one_api.dialects import sse

T = TypeVar("T")


def decode_events(batch: bytes, one: msgspec.json.Decoder[T], all_: msgspec.json.Decoder[list[T]]) -> list[T]:
    """Decode what can be decoded of *batch*'s events; the others are passed over."""
    together = sse.as_list(batch)
    if together is not None:
        try:
            return all_.decode(together)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # one of them is of another kind: one by one
    found = []
    for event in sse.events(batch):
        try:
            found.append(one.decode(sse.data_of(event)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found
