"""Tables on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LONGEST_CELL = 100
_NUMBER = re.compile(r"|-|[$+-]?\d[\d,_]*(\.\d+)?(/\d+| ?[%A-Za-z]{1,8})?", re.ASCII)
"""A figure, with a unit or its limit perhaps, or none; neither a time nor an address."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table: numbers to the right, the last column as it is."""
    cells = [[cell(text) for text in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(head), *cells]) for n in range(len(head))]
    right = [any(row[n] for row in cells) and all(_NUMBER.fullmatch(row[n]) for row in cells) for n in range(len(head))]
    for row in [list(head), *cells]:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def cell(text: str) -> str:
    """Put *text* on one line that does nothing to a terminal, and cut it."""
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= LONGEST_CELL else f"{shown[: LONGEST_CELL - 1]}…"
