"""Closes days and months that are over: their sums are made from those of their hours, once, so that reports are fast.

No figure depends on it: what is not closed is read hour by hour, or not told where that would take too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.books.jobs import Done
from llm_one_api.stores.ledger.closing import Period

log = structlog.get_logger()

LATE_RECORDS = timedelta(minutes=10)
"""How long after its end a day is left open: what comes in later costs an ingest more."""
RUN_FOR = 60.0
"""Seconds after which others get a turn in the same process."""


class Store(Protocol):
    """What closing needs of the ledger."""

    def due(self, zone: ZoneInfo, until: datetime) -> Sequence[Period]:
        """Tell which days and months of *zone* that are over before *until* are not closed, the newest days first."""

    def close(self, period: Period) -> bool:
        """Make the sums of *period*; tell whether it is closed now."""


def close_periods(
    store: Store,
    zone: ZoneInfo,
    now: datetime,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Done:
    """Close what at *now* is over, as far as the time goes. Raises what the ledger raises; what is closed stays so."""
    end = clock() + RUN_FOR
    closed = {"day": 0, "month": 0}
    more = False
    for period in store.due(zone, now - LATE_RECORDS):
        begun = clock()
        if begun >= end:
            more = True
            break
        closed[period.level] += store.close(period)
        sleep(clock() - begun)  # ingests wait meanwhile, so they have as long a time in between
    if any(closed.values()):
        log.info("sums.closed", days=closed["day"], months=closed["month"], more=more)
    return Done(result={"days": closed["day"], "months": closed["month"]}, more=more)
