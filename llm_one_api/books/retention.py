"""Deletes single calls that are older than they are kept, and sums by quarters; sums by hours stay for good.

A plugin that has not had a record holds it back: as long as it is in the config, and for a week after it was last
heard of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from llm_one_api.books.jobs import Done
from llm_one_api.stores.ledger.retention import Deleted, Place
from llm_one_api.stores.ledger.sums import hour_of
from llm_one_api.values import Value

log = structlog.get_logger()

FORGOTTEN_AFTER = 7 * 24 * 60 * 60.0
"""Seconds for which a plugin that was taken out of the config goes on holding back."""
CHUNK = 1000
"""Records that are deleted in one transaction: ingests wait for so long, some hundredths of a second."""
PAUSE = 0.02
"""Seconds between two, in which ingests come in."""
RUN_FOR = 60.0
"""Seconds after which others get a turn in the same process."""
RUNS_KEPT = timedelta(days=400)
"""How long it is known what came of each period of each job."""


class Keeping(Value, frozen=True, kw_only=True):
    """How long things are kept. None: for good."""

    records_days: int | None
    quarters_days: int


class Store(Protocol):
    """What retention needs of the ledger."""

    def places(self) -> Sequence[Place]:
        """Tell where all consumers are that there ever were."""

    def next_after(self, place: int) -> datetime | None:
        """Tell when the first record after *place* was admitted."""

    def delete_records(self, before: datetime, upto: int, *, since: datetime | None, limit: int) -> Deleted:
        """Delete up to *limit* records admitted before *before*, none after place *upto*."""

    def delete_quarters(self, before: datetime, *, since: datetime | None) -> Deleted:
        """Delete the sums by quarters of the oldest hour from *since* on, if it is over before *before*."""


class Runs(Protocol):
    """The runs of periodic jobs."""

    def prune(self, before: datetime) -> int:
        """Forget the periods before *before*."""


class Ledger(Protocol):
    """Where what is deleted stands."""

    @property
    def retention(self) -> Store:
        """What deletes."""

    @property
    def job_runs(self) -> Runs:
        """The runs of periodic jobs, which are forgotten in the end too."""

    def last_seq(self) -> int:
        """Tell the place of the newest record."""


class Horizon(Value, frozen=True, kw_only=True):
    """Up to which place records may be deleted, and who has a say in that."""

    upto: int
    holding: tuple[Place, ...]
    """Those who have not had all records up to the newest one, the last first."""
    forgotten: tuple[Place, ...]
    """Those who have not either, and for whom nobody waits any more."""


def horizon(places: Sequence[Place], consumers: Collection[str], newest: int) -> Horizon:
    """Tell what *consumers* (those in the config) and others of *places* leave for deleting, of *newest* records.

    One that is in the config and was never seen has had nothing.
    """
    known = {place.consumer: place for place in places}
    new = [Place(consumer=name, seq=0, silent=0.0) for name in consumers if name not in known]
    behind = sorted((place for place in [*places, *new] if place.seq < newest), key=lambda place: place.seq)
    gone = [p for p in behind if p.consumer not in consumers and p.silent >= FORGOTTEN_AFTER]
    holding = tuple(place for place in behind if place not in gone)
    return Horizon(upto=holding[0].seq if holding else newest, holding=holding, forgotten=tuple(gone))


def quarters_since(now: datetime, days: int) -> datetime:
    """Tell since when sums by quarters are kept, if they are for *days*."""
    return hour_of(now - timedelta(days=days))


def retain(
    ledger: Ledger,
    consumers: Collection[str],
    keeping: Keeping,
    now: datetime,
    *,
    unexported: datetime | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Done:
    """Delete what at *now* is older than *keeping* says, as far as the time goes; no calls from *unexported* on.

    Raises what the ledger raises; what was deleted stays so.
    """
    end = clock() + RUN_FOR
    ledger.job_runs.prune(now - RUNS_KEPT)
    records = quarters = 0
    more = False
    if keeping.records_days is not None:
        before = hour_of(now - timedelta(days=keeping.records_days))
        if unexported is not None and unexported < before:
            log.warning("retention.waits_for_export", since=unexported.isoformat())
            before = hour_of(unexported)
        records, more = _records(ledger, consumers, before, end, clock, sleep)
    if not more:
        before = quarters_since(now, keeping.quarters_days)
        quarters, more = _quarters(ledger.retention, before, end, clock)
    if records or quarters:
        log.info("retention.deleted", records=records, quarters=quarters, more=more)
    return Done(result={"records": records, "quarters": quarters}, more=more)


def _quarters(store: Store, before: datetime, end: float, clock: Callable[[], float]) -> tuple[int, bool]:
    rows, since = 0, None
    while True:
        # Each hour once: late calls may bring some of it back meanwhile, and the next run has time for them.
        step = store.delete_quarters(before, since=since)
        rows += step.rows
        if step.newest is None:
            return rows, False
        if clock() >= end:
            return rows, True
        since = step.newest


def _records(
    ledger: Ledger,
    consumers: Collection[str],
    before: datetime,
    end: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> tuple[int, bool]:
    """Delete records in chunks; tell how many, and whether there are more."""
    store = ledger.retention
    records, since = 0, None
    while True:
        # Looked at anew each time: a plugin may have been set back, to be given records again.
        may = horizon(store.places(), consumers, ledger.last_seq())
        step = store.delete_records(before, may.upto, since=since, limit=CHUNK)
        records += step.rows
        if step.newest is None:
            _say(store, may, before, records)
            return records, False
        if clock() >= end:
            return records, True
        since = step.newest
        sleep(PAUSE)


def _say(store: Store, may: Horizon, before: datetime, records: int) -> None:
    """Say who is in the way, and who no longer is."""
    for place in may.holding:
        held = store.next_after(place.seq)
        if held is not None and held < before:
            log.warning("retention.held_back", plugin=place.consumer, after_seq=place.seq, since=held.isoformat())
    for place in may.forgotten:
        if records:
            days = int(place.silent // 86400)
            log.warning("retention.consumer_forgotten", plugin=place.consumer, after_seq=place.seq, silent_days=days)
