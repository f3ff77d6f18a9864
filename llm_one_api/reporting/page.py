"""An answer, and how it is written: as JSON or as a sheet, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from llm_one_api.reporting import sheet
from llm_one_api.reporting.sheet import Cell

AT_ONCE = 50
"""Rows that are laid out before others have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer before it is written."""

    head: Mapping[str, Any]
    """What JSON has in front of the rows."""
    called: str = "rows"
    rows: Sequence[Any]
    fields: Callable[[Any], Any]
    """Lays a row out as what JSON is written of."""
    columns: Sequence[str]
    cells: Callable[[Any], Sequence[Cell]]
    """Takes the cells of a sheet out of what was laid out."""
    tail: Mapping[str, Any] = field(default_factory=dict)
    """What JSON has behind the rows."""
    behind: str | None = None
    """Where the next page begins; None: this is the last."""


def written(page: Page, *, as_csv: bool, between: Callable[[], None] = lambda: None) -> bytes:
    """Write an answer; *between* is called now and then meanwhile."""
    return b"".join(_csv(page, between) if as_csv else _json(page, between))


def _json(page: Page, between: Callable[[], None]) -> Iterator[bytes]:
    """Write JSON some rows at a time: to write a large text at once would hold up the process's other threads."""
    yield msgspec.json.encode(page.head)[:-1] + b',"' + page.called.encode() + b'":['
    for number, rows in enumerate(_laid_out(page, between)):
        yield (b"," if number else b"") + msgspec.json.encode(rows)[1:-1]
    yield b"]" + (b"," + msgspec.json.encode(page.tail)[1:] if page.tail else b"}")


def _csv(page: Page, between: Callable[[], None]) -> Iterator[bytes]:
    laid_out = chain.from_iterable(_laid_out(page, between))
    for line in sheet.rows(page.columns, map(page.cells, laid_out)):
        yield line.encode()


def _laid_out(page: Page, between: Callable[[], None]) -> Iterator[list[Any]]:
    for start in range(0, len(page.rows), AT_ONCE):
        yield [page.fields(row) for row in page.rows[start : start + AT_ONCE]]
        between()
