"""Databases in a PostgreSQL that tests share: empty, or copies of one of them; and copies of an empty SQLite ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from sqlalchemy import create_engine, make_url

from llm_one_api.stores.ledger.ledger import Ledger


@contextmanager
def empty_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Have one for the length of a block, a copy of *template*; gives its `postgresql://` URL."""
    server = make_url(server_url)
    name = f"t{uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        admin.dispose()


def give_tables(file: Path) -> None:
    """Have an SQLite ledger with its tables at *file*, if none is there: a copy, for making them takes longer."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(_with_tables())


@cache
def _with_tables() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        with closing(Ledger(f"sqlite:///{file}")) as ledger:
            ledger.upgrade()
        return file.read_bytes()
