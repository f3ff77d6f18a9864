"""How migrations and others wait for each other on PostgreSQL. On SQLite readers never wait, and writers always do."""

from __future__ import annotations

import time
from collections.abc import Callable

from alembic import op
from sqlalchemy.exc import OperationalError

_WAIT_MS = 1000
_PAUSE = 0.5
_LONGEST = 900.0
_IN_THE_WAY = (
    "somebody has been reading the ledger all the time, such as a backup (pg_stat_activity tells who), so its tables "
    "could not be altered: nothing was changed, upgrade again when that is done"
)
_LOCK_TIMEOUT, _DEADLOCK = "55P03", "40P01"


def shut_writers_out() -> None:
    """Have nobody write records or sums until the upgrade is done, while those who read go on."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("LOCK TABLE ledger_seq IN EXCLUSIVE MODE")


def alter(change: Callable[[], None]) -> None:
    """Do a *change* that takes a table for itself. Nobody reads that table until the upgrade ends, so it comes last.

    It has to wait for who reads just now, such as a backup, and whoever wants to read waits behind it: so it waits for
    a second only, lets the others go first, and tries again.
    """
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        change()
        return
    end = time.monotonic() + _LONGEST
    while True:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT_MS}")
                change()
                connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in {_LOCK_TIMEOUT, _DEADLOCK}:
                raise
            if time.monotonic() > end:
                raise TimeoutError(_IN_THE_WAY) from None
            time.sleep(_PAUSE)
        else:
            return
