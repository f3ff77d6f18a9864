"""The ledger of a run, as an operator has one, and what can be done to it: an SQLite file, or a PostgreSQL server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import psycopg
from sqlalchemy import make_url

from tests.harness.services import postgres_server

LedgerKind = Literal["sqlite", "postgresql"]


class TestedLedger(Protocol):
    """A ledger that can be disturbed."""

    @property
    def url(self) -> str:
        """As the config has it."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep everybody else from writing: an ingest that has begun is in its middle for as long."""


class SqliteFile:
    """A file in the product's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    @contextmanager
    def held(self) -> Iterator[None]:
        connection = sqlite3.connect(self._path, timeout=20, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()


class PostgresServer:
    """A server of our own."""

    def __init__(self, url: str, kill: Callable[[], None], start: Callable[[], None]) -> None:
        self.url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.kill = kill
        self.start = start

    @contextmanager
    def held(self) -> Iterator[None]:
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT n FROM ledger_seq FOR UPDATE")
            yield

    def cut(self) -> int:
        """End all connections but our own; tell how many there were."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return len(
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
            )


@contextmanager
def ledger(kind: LedgerKind, folder: Path) -> Iterator[SqliteFile | PostgresServer]:
    """Have one for the length of a block; a file is in the product's *folder*."""
    if kind == "sqlite":
        yield SqliteFile(folder / "data" / "ledger.db")
        return
    with postgres_server() as server:
        yield PostgresServer(server.url, server.kill, server.start)
