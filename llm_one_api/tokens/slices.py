"""Cuts texts into slices whose tokens add up to those of the whole.

Encoding a text takes as long as the text is, and tiktoken lets nobody in between. So it is cut, at places that are
surely between two tokens, whatever stands before and behind: tiktoken's patterns first split a text into words, and a
place is sure if no word of either pattern has the two characters around it next to each other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

SLICE = 4096
"""Characters. Of whatever characters, encoding so many takes 2 to 4 ms."""

_now, _then = unicodedata.category, unicodedata.ucd_3_2_0.category


def is_sure(before: str, after: str) -> bool:
    """Tell whether between these two characters there surely is a boundary of words, in both encodings."""
    if after == " ":
        return not before.isspace()
    left, right = _class(before), _class(after)
    if left in "LN":
        return right != left if right in "LN" else right in "PSZ\n" and after != "'"
    return left == "\n" and right in "LNPS" and after != "/"


def _class(character: str) -> str:
    r"""Tell a character's general category: its first letter; `\n` for an end of line; `?` where that may change.

    What it was in Unicode 3.2 and still is, it is to the tables of every library.
    """
    if character in "\r\n":
        return "\n"
    category = _now(character)
    return category[0] if category == _then(character) else "?"


class Slicer:
    """Cuts one text that comes in pieces. How it comes does not change where it is cut."""

    def __init__(self, size: int = SLICE) -> None:
        """Give slices of up to *size* characters."""
        self._size = size
        self._rest = ""

    def feed(self, piece: str) -> Iterator[str]:
        """Give the slices that are complete with *piece*; to be taken before the next one comes."""
        text, at = self._rest + piece, 0
        while len(text) - at > self._size:
            cut = self._cut(text, at)
            yield text[at:cut]
            at = cut
        self._rest = text[at:]

    def end(self) -> str:
        """Give the last slice."""
        rest, self._rest = self._rest, ""
        return rest

    def _cut(self, text: str, at: int) -> int:
        """Find the last sure place within a slice's length. Where there is none, it is cut there: it is an estimate."""
        end = at + self._size
        for place in range(end, at, -1):
            if is_sure(text[place - 1], text[place]):
                return place
        return end


def slices(pieces: Iterable[str], size: int = SLICE) -> Iterator[str]:
    """Cut a text that is there, in pieces."""
    slicer = Slicer(size)
    for piece in pieces:
        yield from slicer.feed(piece)
    yield slicer.end()
