"""The one lock of the ledger's writers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update

from llm_one_api.stores.ledger.tables import ledger_seq

_LOCK = update(ledger_seq).values(n=ledger_seq.c.n + 0).returning(ledger_seq.c.n, ledger_seq.c.deleted_before)


def lock(connection: Connection) -> tuple[int, datetime | None]:
    """Keep all others from changing records or sums until the transaction ends.

    Gives the last `seq`, and the time before which records may have been deleted (None: none was).
    """
    last, deleted_before = connection.execute(_LOCK).one()
    return last, deleted_before
