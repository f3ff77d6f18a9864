"""Connections to the ledger's database: SQLite by default, PostgreSQL in production."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import NullPool, QueuePool

BUSY_SECONDS = 5.0
_TO_POSTGRESQL = {
    "connect_timeout": 5,
    # Of a host that is gone without a word (a failover) the kernel tells us after some 15 s, not after minutes.
    "tcp_user_timeout": 15_000,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""How libpq connects, but for what the URL says otherwise."""


def make_engine(url: str, *, keep_connections: bool = True) -> Engine:
    """Make an engine for *url* (`sqlite:///…`, `postgresql://…`). Opens no connection; use it in one process only.

    Without *keep_connections* each transaction has a connection of its own: for threads beside a gevent hub, whose
    locks must not guard a pool that several of them share.
    """
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    pool: dict[str, Any] = (
        {"poolclass": QueuePool, "pool_size": 2, "max_overflow": 8} if keep_connections else {"poolclass": NullPool}
    )
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, pool)
    return create_engine(
        parsed,
        **pool,
        pool_pre_ping=True,  # a connection that the server has closed meanwhile is replaced, not used
        connect_args={
            **{name: value for name, value in _TO_POSTGRESQL.items() if name not in parsed.query},
            # psycopg goes on using a statement whose preparing failed with a row that the database refused, and so
            # has the good rows after it refused too. Prepared statements would save nothing here.
            "prepare_threshold": None,
        },
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # an error's text must not carry a record's values
    )


def _sqlite(url: Any, pool: dict[str, Any]) -> Engine:
    path = Path(url.database) if url.database and url.database != ":memory:" else None
    # Kept connections matter: whoever closes the last one brings the whole WAL into the file, some 3 ms each time.
    engine = create_engine(url, **pool, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def make_private(*_: Any) -> None:
        """Make a database that is not there for our own eyes only; SQLite's files beside it follow it."""
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, entry: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
        _use_wal(connection)
        entry.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def look(_connection: Any, entry: Any, _proxy: Any) -> None:
        # Somebody has put a backup in its place: what is written to the old file would be lost.
        if entry.info["file"] != _identity(path):
            raise DisconnectionError

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if options.get('may_be_undone') else 'FULL'}")
        # A transaction that reads and then writes fails at once with "database is locked" whatever the timeout,
        # unless it said at its beginning that it would write.
        how = "DEFERRED" if options.get("reads_only") else "IMMEDIATE"
        connection.exec_driver_sql(f"BEGIN {how}")

    return engine


def _use_wal(connection: Any) -> None:
    """Have readers and the writer not wait for each other. The file remembers it: only its first users change it.

    Two that change it at once would wait for each other, so SQLite refuses one of them whatever the timeout.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Tell one file from another of the same name."""
    if path is None:
        return None
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def reading(engine: Engine) -> Engine:
    """Give *engine* for transactions that write nothing."""
    return engine.execution_options(reads_only=True)


def one_moment(engine: Engine) -> Connection:
    """Connect to a `reading` *engine* for a transaction in which all that is read is of the same moment."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":  # on SQLite it is anyway
        connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def unsynced(engine: Engine) -> Engine:
    """Give *engine* for transactions that a power cut (no kill) may undo: on SQLite they wait for no disk."""
    return engine.execution_options(may_be_undone=True)


def clock(engine: Engine) -> Any:
    """Give the SQL of the database's own clock, in seconds since 1970: the one clock that all processes share."""
    if engine.dialect.name == "postgresql":
        return text("extract(epoch from clock_timestamp())")
    return text("((julianday('now') - 2440587.5) * 86400.0)")
