"""A PostgreSQL database that one test after another has: making one writes 17 MB, emptying one next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tests.harness.databases import empty_database

_CATALOGS = (
    "pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_event_trigger", "pg_extension", "pg_index",
    "pg_namespace", "pg_policy", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type",
)  # fmt: skip
_SHAPE = text(
    "SELECT (SELECT (datacl, datallowconn, datconnlimit)::text FROM pg_database WHERE datname = current_database()), "
    "(SELECT count(*) FROM pg_db_role_setting), "
    + ", ".join(f"(SELECT (count(*), max(xmin::text::bigint))::text FROM {name})" for name in _CATALOGS)
)
"""Whoever changes a table, a right or a trigger writes a row in one of these."""


class ReusedDatabase:
    """Lends a copy of a ledger's empty database, as it was at first, until a test changes more than its rows."""

    def __init__(self, server_url: str, template: str) -> None:
        """Make none yet."""
        self._server_url = server_url
        self._template = template
        self._url: str | None = None
        self._database = ExitStack()

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Have it for one test; gives its `postgresql://` URL."""
        if self._url is None:
            self._make()
        assert self._url is not None
        yield self._url
        try:
            with closing(self._connect(self._url)) as connection, connection.begin():
                is_restored = self._restore(connection)
        except SQLAlchemyError:  # somebody has taken it away, or holds on to a row
            is_restored = False
        if not is_restored:
            self.close()

    def close(self) -> None:
        """Drop it; the next test has another."""
        self._database.close()
        self._url = None

    def _make(self) -> None:
        self._url = self._database.enter_context(empty_database(self._server_url, self._template))
        with closing(self._connect(self._url)) as connection:
            self._shape = connection.execute(_SHAPE).all()
            self._tables = connection.scalars(
                text("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'")
            ).all()
            self._rows = {
                table: rows
                for table in self._tables
                if (rows := connection.scalars(text(f"SELECT to_json(t)::text FROM {table} t")).all())
            }

    def _connect(self, url: str) -> Connection:
        return create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), poolclass=NullPool).connect()

    def _restore(self, connection: Connection) -> bool:
        """Have the rows that it had at first; tells whether that could be done."""
        connection.execute(text("SET lock_timeout = '2s'"))
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        if connection.execute(_SHAPE).all() != self._shape:
            return False
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # rows may go in any order
        connection.exec_driver_sql("; ".join(f"DELETE FROM {table}" for table in self._tables))
        for table, rows in self._rows.items():
            for row in rows:
                insert = text(
                    f"INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, CAST(:row AS json))"
                )
                connection.execute(insert, {"row": row})
        connection.execute(
            text("SELECT setval(format('%I', sequencename)::regclass, start_value, false) FROM pg_sequences")
        )
        return True
