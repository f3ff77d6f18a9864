"""Tables as wide as a terminal: figures are never cut; where there is no room, names are, and columns are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llm_one_api.values import Value

R = TypeVar("R")

_GAP = 2


class Column(Value, Generic[R], frozen=True, kw_only=True):
    """One column of rows of one kind."""

    head: str
    of: Callable[[R], str | Text]
    is_text: bool = False
    """It begins at the left."""
    least: int | None = None
    """It may be cut to so many characters; None: it may not."""
    leave: int = 0
    """The higher, the sooner it is left out; 0: never."""
    only_if: Callable[[R], bool] | None = None
    """It is shown if this is so of some row."""


def fitted(columns: Sequence[Column[R]], rows: Sequence[R], width: int) -> RenderableType:
    """Draw *rows* within *width*, and say which columns there was no room for."""
    wanted = [column for column in columns if column.only_if is None or any(map(column.only_if, rows))]
    cells = [[_text(column, row) for row in rows] for column in wanted]
    needs = [_needs(column, its) for column, its in zip(wanted, cells, strict=True)]
    left: set[int] = set()
    order = sorted([n for n in range(len(wanted)) if wanted[n].leave], key=lambda n: -wanted[n].leave)
    while order and sum(needs[n] + _GAP for n in range(len(wanted)) if n not in left) - _GAP > width:
        left.add(order.pop(0))
    kept = [n for n in range(len(wanted)) if n not in left]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", safe_box=True
    )
    for number in kept:
        column = wanted[number]
        table.add_column(column.head, justify="left" if column.is_text else "right", no_wrap=column.least is None)
    for row in zip(*[cells[number] for number in kept], strict=True):
        table.add_row(*row)
    if not left:
        return table
    heads = ", ".join([wanted[number].head for number in sorted(left)])
    return Group(table, Text(f"No room for {heads}: --json and --csv have them.", style="dim"))


def _text(column: Column[R], row: R) -> Text:
    found = column.of(row)
    text = found if isinstance(found, Text) else Text(found)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _needs(column: Column[R], cells: Sequence[Text]) -> int:
    """Tell how many characters a column takes at the least."""
    widest = max([cell_len(column.head), *[cell.cell_len for cell in cells]])
    return widest if column.least is None else min(widest, max(column.least, cell_len(column.head)))
