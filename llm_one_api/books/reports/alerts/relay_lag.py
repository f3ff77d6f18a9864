"""How late records are, by what the relay of this machine tells of itself."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import measure

STALE_SECONDS = 15.0
"""What a relay told so long ago is no longer true: it tells every second."""


def relay_lag(folder: Path, now: datetime) -> Decimal | None:
    """Give the age in seconds of the oldest record that is not in the ledger; None: nothing is known here.

    While no relay tells anything, what waits in the journal has waited since one last did.
    """
    told = status.read(folder)
    if told is None:
        return None
    silent = (now - told.at).total_seconds()
    if silent <= STALE_SECONDS:
        return round(Decimal(str(told.lag)), 3)
    try:
        waiting = measure(folder).segments > 0
    except OSError:
        return None
    return round(Decimal(str(told.lag + silent)), 3) if waiting else Decimal(0)
