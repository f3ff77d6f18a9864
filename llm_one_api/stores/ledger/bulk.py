"""Writes many rows in one statement, on both databases.

Written out in SQL: a batch brings hundreds of rows, and by SQLAlchemy they would cost more than the rest of an ingest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Date, Dialect, Float, Integer, Table

from llm_one_api.stores.ledger.sums import Rows
from llm_one_api.stores.ledger.tables import Moment, Money


class Inserting:
    """Inserts rows into one table."""

    def __init__(self, table: Table, dialect: Dialect, on_conflict: str = "") -> None:
        """Write the statement; *on_conflict* is its end."""
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        self._is_postgresql = dialect.name == "postgresql"
        if self._is_postgresql:
            arrays = ", ".join(f"%s::{_postgresql(column.type)}[]" for column in table.columns)
            source = f"SELECT * FROM unnest({arrays})"  # noqa: S608 (names of our own)
        else:
            source = f"VALUES ({', '.join('?' * len(table.columns))})"
        self._sql = f"INSERT INTO {table.name} ({names}) {source} {on_conflict}"
        processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
        self._processors = [(number, process) for number, process in enumerate(processors) if process is not None]

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Insert *rows*, each with a value for each column, in their order."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for number, process in self._processors:
            # What is dear to convert, such as the slots of sums, comes again and again.
            converted = {value: process(value) for value in set(columns[number])}
            columns[number] = [converted[value] for value in columns[number]]
        if self._is_postgresql:
            connection.exec_driver_sql(self._sql, tuple(map(list, columns)))
        else:
            connection.exec_driver_sql(self._sql, list(zip(*columns, strict=True)))


class Adding:
    """Adds to one table of sums, whose first columns are its key, making the rows that are not there."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Write the statement."""
        names = [f'"{column.name}"' for column in table.columns]
        keys = len(table.primary_key.columns)
        added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names[keys:])
        self._insert = Inserting(table, dialect, f"ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {added}")

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Add *rows*."""
        if rows:
            # In one order always, so that two that add do not wait for each other in a circle.
            self._insert(connection, [(*key, *sums) for key, sums in sorted(rows.items())])


_POSTGRESQL = {
    Moment: "timestamptz",
    Money: "numeric",
    Date: "date",
    BigInteger: "bigint",
    Integer: "integer",
    Boolean: "boolean",
    Float: "double precision",
}


def _postgresql(kind: Any) -> str:
    return next((name for cls, name in _POSTGRESQL.items() if isinstance(kind, cls)), "text")
