"""The one lock of the ledger's writers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update
from sqlalchemy.exc import DBAPIError

from llm_one_api.stores.ledger.tables import ledger_seq

LAYOUT = 1
"""How what writers keep is laid out. A migration after which writers of before would leave something out counts it up
here and in `ledger_seq`: then those fail, and what they have in hand is kept by writers that know."""

# Versions from before there was a layout set `n` to itself, which a trigger refuses.
_LOCK = (
    update(ledger_seq)
    .values(layout=ledger_seq.c.layout)
    .returning(ledger_seq.c.n, ledger_seq.c.deleted_before, ledger_seq.c.layout)
)
_BEHIND = "The ledger's tables are of an older version than this process. Upgrade them with: llm-one-api db upgrade"


class SchemaBehind(Exception):
    """The database's tables are not those that this version works with."""


def lock(connection: Connection) -> tuple[int, datetime | None]:
    """Keep all others from changing records or sums until the transaction ends.

    Gives the last `seq`, and the time before which records may have been deleted (None: none was). Raises SchemaBehind
    if the ledger was not upgraded, or was since this process began, so that older code would leave something out.
    """
    try:
        last, deleted_before, layout = connection.execute(_LOCK).one()
    except DBAPIError as error:
        if "ledger_seq.layout" not in str(error.orig):
            raise
        raise SchemaBehind(_BEHIND) from None
    if layout != LAYOUT:
        raise SchemaBehind(
            f"The ledger's layout is {layout}, and this process writes {LAYOUT}: it was upgraded meanwhile. "
            "Restart this process with the version that did it."
        )
    return last, deleted_before
