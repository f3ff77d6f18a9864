"""Adds to rows of sums, making those that are not there: many in one statement, on both databases.

Written out in SQL: a batch touches hundreds of rows, and by SQLAlchemy they would cost more than the rest of an ingest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Dialect, Integer, Table

from llm_one_api.stores.ledger.sums import Rows
from llm_one_api.stores.ledger.tables import Moment


class Adding:
    """Adds to one table, whose first columns are its key, and the others sums."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Write the statement."""
        names = [f'"{column.name}"' for column in table.columns]
        keys = names[: len(table.primary_key.columns)]
        sums = names[len(keys) :]
        self._is_postgresql = dialect.name == "postgresql"
        if self._is_postgresql:
            arrays = ", ".join(f"%s::{_postgresql(column.type)}[]" for column in table.columns)
            source = f"SELECT * FROM unnest({arrays})"  # noqa: S608 (names of our own)
        else:
            source = f"VALUES ({', '.join('?' * len(names))})"
        added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in sums)
        self._sql = (
            f"INSERT INTO {table.name} ({', '.join(names)}) {source} "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {added}"
        )
        self._slot: Callable[[Any], Any] = Moment().dialect_impl(dialect).bind_processor(dialect) or (lambda slot: slot)

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Add *rows*."""
        if not rows:
            return
        slots = {slot: self._slot(slot) for slot in {key[0] for key in rows}}
        # In one order always, so that two that add do not wait for each other in a circle.
        values = [(slots[key[0]], *key[1:], *sums) for key, sums in sorted(rows.items())]
        if self._is_postgresql:
            connection.exec_driver_sql(self._sql, tuple(map(list, zip(*values, strict=True))))
        else:
            connection.exec_driver_sql(self._sql, values)


def _postgresql(kind: Any) -> str:
    if isinstance(kind, Moment):
        return "timestamptz"
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "integer"
    return "boolean" if isinstance(kind, Boolean) else "text"
