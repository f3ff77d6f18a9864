"""How many tokens a text or a request's body is; in steps, so that others get their turn in between."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from tiktoken import Encoding

from llm_one_api.tokens.bodies import Unknowable, pieces
from llm_one_api.tokens.slices import SLICE, slices
from llm_one_api.tokens.tools import NEWER, OLDER

MISFITS = (Unknowable, msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError)


def text_tokens(text: str, encoding: Encoding) -> int:
    """Count a text. What looks like a special token in it is text like any other."""
    return sum(len(encoding.encode_ordinary(part)) for part in slices([text]))


def input_tokens(kind: str, body: bytes | bytearray, encoding: Encoding) -> int | None:
    """Count the tokens of a request's body. None: it is not of a shape that can be counted."""
    try:
        return sum(input_steps(kind, body, encoding))
    except MISFITS:
        return None


def input_steps(kind: str, body: bytes | bytearray, encoding: Encoding) -> Iterator[int]:
    """Count the same bit by bit: the figures add up to it, and none takes more than a slice's time.

    Raises one of `MISFITS`, also midway, where `input_tokens` gives None.
    """
    tokens = seen = 0
    for piece in pieces(kind, body, OLDER if encoding.name == "cl100k_base" else NEWER):
        if isinstance(piece, int):
            tokens += piece
            seen += 1
            continue
        for part in slices([piece]):
            tokens += len(encoding.encode_ordinary(part))
            seen += len(part) + 1
            if seen >= SLICE:
                yield tokens
                tokens = seen = 0
    yield tokens
