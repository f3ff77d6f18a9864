"""Two sets of sums, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from llm_one_api.stores.ledger.sums import Rows, differing
from llm_one_api.values import Value


class Difference(Value, frozen=True, kw_only=True):
    """A sum that is not what it is made of comes to."""

    table: str
    slot: datetime
    dimensions: dict[str, Any]
    column: str
    records: int
    """What the records come to; of days and months: the hours and days."""
    sums: int


def compare(
    table: Table, expected: Rows, found: Rows, *, packed: tuple[str, ...] | None = None
) -> Iterator[Difference]:
    """Tell where rows of *table* differ; where they were *packed*, that names what they are laid out by."""
    names = [str(column.name) for column in table.columns]  # plain ones, which can be written as JSON
    keys = len(table.primary_key.columns)
    if packed is not None:
        names, keys = [*packed, "calls"], len(packed)
    for key, number, mine, theirs in differing(expected, found):
        yield Difference(
            table=table.name,
            slot=key[0],
            dimensions=dict(zip(names[1:keys], key[1:], strict=True)),
            column=names[keys + number],
            records=mine,
            sums=theirs,
        )
