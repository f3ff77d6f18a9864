"""Writes many rows in one statement, on both databases.

Written out in SQL: a batch brings hundreds of rows, and by SQLAlchemy they would cost more than the rest of an ingest.
PostgreSQL takes rows by COPY, in binary, and where they may be there already as one JSON document: arrays, a parameter
a column, cost ten times as much to write down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Connection, Date, Dialect, Float, Integer, Table
from sqlalchemy.exc import DBAPIError

from llm_one_api.stores.ledger.sums import Rows
from llm_one_api.stores.ledger.tables import Moment, Money

Cells = Sequence[Any]
Insert = Callable[[Connection, Sequence[Cells]], None]
"""Insert rows, each with a value for each column of the table, in their order."""

_encode = msgspec.json.Encoder().encode


def inserting(table: Table, dialect: Dialect) -> Insert:
    """Make what inserts into *table* rows that are not there."""
    return _Copying(table, dialect) if dialect.name == "postgresql" else _Binding(table, dialect)


class Adding:
    """Adds to one table of sums, whose first columns are its key, making the rows that are not there."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Write the statement."""
        self._insert = _upserting(table, dialect, "{table}.{name} + excluded.{name}")

    def __call__(self, connection: Connection, rows: Rows) -> None:
        """Add *rows*."""
        if rows:
            # In one order always, so that two that add do not wait for each other in a circle.
            self._insert(connection, [(*key, *sums) for key, sums in sorted(rows.items())])


class Putting:
    """Puts rows in place of those of the same key in one table, whose first columns are its key, or beside them."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Write the statement."""
        self._insert = _upserting(table, dialect, "excluded.{name}")

    def __call__(self, connection: Connection, rows: Sequence[Cells]) -> None:
        """Put *rows*, each with a value for each column."""
        if rows:
            self._insert(connection, rows)


def _upserting(table: Table, dialect: Dialect, change: str) -> Insert:
    """Make what inserts into *table*, and gives the figures of rows that are there the value *change*."""
    keys = len(table.primary_key.columns)
    names = _names(table)
    changed = ", ".join(f"{name} = {change.format(table=table.name, name=name)}" for name in names[keys:])
    end = f" ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {changed}"
    return _Reading(table, dialect, end) if dialect.name == "postgresql" else _Binding(table, dialect, end)


class _Binding:
    """Inserts rows as a driver is given them: each a tuple. SQLite's way."""

    def __init__(self, table: Table, dialect: Dialect, end: str = "") -> None:
        places = ", ".join("?" * len(table.columns))
        self._sql = f"{_insert_into(table)} VALUES ({places}){end}"
        self._convert = _converter(table, dialect)

    def __call__(self, connection: Connection, rows: Sequence[Cells]) -> None:
        connection.exec_driver_sql(self._sql, list(self._convert(rows)))


class _Reading:
    """Inserts rows that PostgreSQL reads out of one JSON document."""

    def __init__(self, table: Table, dialect: Dialect, end: str = "") -> None:
        self._columns = [column.name for column in table.columns]
        typed = ", ".join(f'"{column.name}" {_postgresql(column.type)}' for column in table.columns)
        source = f"SELECT * FROM json_to_recordset(%s::json) AS rows ({typed})"  # noqa: S608 (names of our own)
        self._sql = f"{_insert_into(table)} {source}{end}"
        self._convert = _converter(table, dialect)

    def __call__(self, connection: Connection, rows: Sequence[Cells]) -> None:
        named = [dict(zip(self._columns, row, strict=True)) for row in self._convert(rows)]
        connection.exec_driver_sql(self._sql, (_encode(named).decode(),))


class _Copying:
    """Inserts rows by PostgreSQL's COPY."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._sql = f"COPY {table.name} ({', '.join(_names(table))}) FROM STDIN (FORMAT BINARY)"
        self._types = [_postgresql(column.type) for column in table.columns]
        self._convert = _converter(table, dialect)

    def __call__(self, connection: Connection, rows: Sequence[Cells]) -> None:
        from psycopg import Error  # not needed with SQLite

        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(self._sql) as copy:
                copy.set_types(self._types)
                for row in self._convert(rows):
                    copy.write_row(row)
        except Error as error:
            # SQLAlchemy does not see what goes past it: its errors are what everybody expects.
            raise DBAPIError.instance(self._sql, None, error, Error, hide_parameters=True) from error


def _converter(table: Table, dialect: Dialect) -> Callable[[Sequence[Cells]], Iterable[Cells]]:
    """Make what puts the values of rows as the driver takes them."""

    @cache  # for all tables it takes 20 ms, and most of those who open a ledger read it only
    def processed() -> list[tuple[int, Callable[[Any], Any]]]:
        processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
        return [(number, process) for number, process in enumerate(processors) if process is not None]

    def convert(rows: Sequence[Cells]) -> Iterable[Cells]:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for number, process in processed():
            # What is dear to convert, such as the slots of sums, comes again and again.
            converted = {value: process(value) for value in set(columns[number])}
            columns[number] = [converted[value] for value in columns[number]]
        return zip(*columns, strict=True)

    return convert


def _names(table: Table) -> list[str]:
    return [f'"{column.name}"' for column in table.columns]


def _insert_into(table: Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(_names(table))})"


_POSTGRESQL = {
    Moment: "timestamptz",
    Money: "numeric",
    Date: "date",
    BigInteger: "int8",
    Integer: "int4",
    Boolean: "bool",
    Float: "float8",
}


def _postgresql(kind: Any) -> str:
    return next((name for cls, name in _POSTGRESQL.items() if isinstance(kind, cls)), "text")
