"""CSV that a spreadsheet can open: RFC 4180, and no cell of it becomes a formula.

Names of models and users are what callers and operators chose, and a spreadsheet computes what begins with `=`. So
a text that could be taken for a formula is written with an apostrophe in front, and so is a part of it that would be a
cell of its own where cells are divided at `;` or tabs. What is not seen before a sign (a blank of any kind, a mark of
no width) hides no formula: some programs leave it out. Numbers stay numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

Cell = str | int | float | bool | Decimal | datetime | date | None

_FORMULA = frozenset(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
    "\N{SMALL EQUALS SIGN}\N{SMALL PLUS SIGN}\N{SMALL HYPHEN-MINUS}\N{SMALL COMMERCIAL AT}\N{MINUS SIGN}"
)
_BLANK = frozenset("\t\r\n")
_BREAKS = frozenset(";\t\r\n")
"""Where a program that takes `;` or tabs for what divides cells, as in some languages, would begin another one."""
_UNSEEN_KINDS = frozenset({"Cf", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode's categories of blanks, of marks of no width, and of those that are drawn onto what is before them."""
_UNSEEN = _BLANK | frozenset(
    "\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}"
    "\N{BRAILLE PATTERN BLANK}"
)
"""Others that are drawn as nothing."""
_QUOTED = frozenset('",\r\n')
_END = "\r\n"
_PLAIN = frozenset({int, float})


def line(cells: Iterable[Cell]) -> str:
    """Write a row, with its end."""
    # Most cells are counts, or nothing; types are looked at, not classes, for True is an int too.
    written = [str(one) if type(one) in _PLAIN else "" if one is None else _quoted(cell(one)) for one in cells]
    return ",".join(written) + _END


def rows(head: Sequence[str], body: Iterable[Iterable[Cell]]) -> Iterable[str]:
    """Write a sheet, row by row."""
    yield line(head)
    for row in body:
        yield line(row)


def cell(value: Cell) -> str:
    """Write a value: None as nothing, an amount without an exponent, a text so that it stays one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    return str(value)


def plain(amount: Decimal) -> str:
    """Write an amount without an exponent, and without the zeros that one of the databases puts behind it."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _text(text: str) -> str:
    if not text.isprintable():
        text = "".join([_harmless(character) for character in text])
    if not _BREAKS.isdisjoint(text):
        text = _inner(text)
    return f"'{text}" if text[:1] in _BLANK or _first_seen(text) in _FORMULA else text


def _first_seen(text: str) -> str:
    """Give the first character that is seen; nothing: none is."""
    first = text[:1]
    if first.isascii() and first != " ":
        return first
    return next((character for character in text if not _is_unseen(character)), "")


def _is_unseen(character: str) -> bool:
    return character in _UNSEEN or unicodedata.category(character) in _UNSEEN_KINDS


def _inner(text: str) -> str:
    """Put an apostrophe before each sign that is the first thing seen of a part."""
    guarded: list[str] = []
    is_first = False
    for character in text:
        if is_first and character in _FORMULA:
            guarded.append("'")
        is_first = character in _BREAKS or (is_first and _is_unseen(character))
        guarded.append(character)
    return "".join(guarded)


def _harmless(character: str) -> str:
    """Take out what a terminal obeys, and NUL, at which some programs stop reading."""
    if character in _BLANK or unicodedata.category(character) not in {"Cc", "Cs"}:
        return character
    return "\N{REPLACEMENT CHARACTER}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not _QUOTED.isdisjoint(text) else text
