"""Adds up stretches of time of some tables of sums as rows of another one, in SQL: what days and months are made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, insert, select, union_all

from llm_one_api.stores.ledger.rollup_tables import ROLLUP_COUNTS, Level
from llm_one_api.stores.ledger.slots import Stretch
from llm_one_api.stores.ledger.sums import Rows


def sources_of(tables: Mapping[Level, Table], found: Sequence[Stretch]) -> tuple[Table, ...]:
    """Name the tables that *found* is read from."""
    return tuple(tables[part.level] for part in found)


def bounds_of(begin: datetime, found: Sequence[Stretch]) -> dict[str, datetime]:
    """Give the parameters of what is summed up as the slot *begin*."""
    bounds = {"begin": begin}
    for number, part in enumerate(found):
        bounds |= {f"since_{number}": part.since, f"until_{number}": part.until}
    return bounds


# To build a statement costs more than to execute it, and there are a few of them only.
@cache
def summed_up(table: Table, sources: tuple[Table, ...]) -> Any:
    """Add the slots of *sources* up, a stretch of time of each, as rows of *table*."""
    names = [column.name for column in table.columns if column.name not in {"slot", *ROLLUP_COUNTS}]
    columns = _columns(sources, (*names, *ROLLUP_COUNTS))
    slot = bindparam("begin", type_=table.c.slot.type)
    sums = [func.sum(columns[name]) for name in ROLLUP_COUNTS]
    return select(slot, *[columns[name] for name in names], *sums).group_by(*[columns[name] for name in names])


@cache
def summed_into(table: Table, sources: tuple[Table, ...]) -> Any:
    """Insert them."""
    return insert(table).from_select([column.name for column in table.columns], summed_up(table, sources))


@cache
def times_of(sources: tuple[Table, ...]) -> Any:
    """Read rows of a bucket each, a stretch of time of each of *sources*."""
    return select(*_columns(sources, [column.name for column in sources[0].columns]))


def _columns(sources: Sequence[Table], names: Sequence[str]) -> Any:
    parts = []
    for number, table in enumerate(sources):
        slot, kind = table.c.slot, table.c.slot.type
        since, until = (bindparam(f"{name}_{number}", type_=kind) for name in ("since", "until"))
        parts.append(select(*[table.c[name] for name in names]).where(slot >= since, slot < until))
    return (parts[0] if len(parts) == 1 else union_all(*parts)).subquery().c


def rows_of(connection: Connection, table: Table, asked: Any, values: Mapping[str, Any]) -> Rows:
    """Give what is *asked* for, by the key of *table*."""
    keys = len(table.primary_key.columns)
    rows = connection.execute(asked, values)
    return {tuple(row[:keys]): [int(figure) for figure in row[keys:]] for row in rows}


@cache
def all_of(table: Table) -> Any:
    """Read the rows of a stretch of time."""
    slot, kind = table.c.slot, table.c.slot.type
    return select(table).where(slot >= bindparam("since", type_=kind), slot < bindparam("until", type_=kind))
