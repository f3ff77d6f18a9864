"""Databases in a PostgreSQL that tests share: empty, or copies of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import create_engine, make_url


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
