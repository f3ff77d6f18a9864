"""The ledger's schema: made and changed by Alembic, from the first table on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from llm_one_api.stores.ledger.closing import Closing
from llm_one_api.stores.ledger.engine import BUSY_SECONDS
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.rollups import Rollups

_FOLDER = Path(__file__).parent / "migrations"
_SUMS_SINCE = "0003"
"""The revision that last changed how sums are laid out: those of a ledger from before are made anew."""
_UPGRADE_SECONDS = 900
_LOCK = 0x6C6C6D31
"""An advisory lock of PostgreSQL's, so that two upgrades at a time wait for each other."""


def head() -> str:
    """Name the newest revision that this version knows."""
    revision = ScriptDirectory(str(_FOLDER)).get_current_head()
    if revision is None:
        raise LookupError(f"no migrations in {_FOLDER}")
    return revision


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date. Nothing happens if they are; two at a time do it once.

    Raises SchemaBehind if they are those of a newer version.
    """
    with engine.connect() as connection, _patience(connection), connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None:
            _check_known(found)
        config = Config()
        config.set_main_option("script_location", str(_FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if found is not None and found < _SUMS_SINCE:
            Rollups(engine, Closing(engine)).rebuild_all(connection)


@contextmanager
def _patience(connection: Connection) -> Iterator[None]:
    """Have whoever upgrades wait for another who does: to make the sums of a million calls anew takes half a minute."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.execute(f"PRAGMA busy_timeout={_UPGRADE_SECONDS * 1000}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")


def revision(engine: Engine) -> str | None:
    """Tell the revision that the tables are of; None: there are none."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check(engine: Engine) -> None:
    """Raise SchemaBehind unless the tables are up to date."""
    found = revision(engine)
    if found == head():
        return
    if found is None:
        raise SchemaBehind("The ledger has no tables yet. Make them with: llm-one-api db upgrade")
    _check_known(found)
    raise SchemaBehind(
        f"The ledger is at schema {found}, and this version needs {head()}. "
        "Stop workers of the older version, make a backup, then: llm-one-api db upgrade"
    )


def _check_known(found: str) -> None:
    """Raise SchemaBehind if this version has never heard of the revision *found*."""
    known = {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}
    if found not in known:
        raise SchemaBehind(
            f"The ledger is at schema {found}, which this version does not know: it was upgraded by a newer one. "
            "Install that version again."
        )
