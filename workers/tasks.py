"""Doors: each task unpacks, calls `books`, and is done. All may come twice."""

from __future__ import annotations

import random
from typing import Any

import redis
import structlog

from llm_one_api import periodic
from llm_one_api.books import deliver as delivery
from llm_one_api.books import ingest as ingestion
from llm_one_api.books import jobs
from llm_one_api.books.parcel import unpack
from llm_one_api.broker import DELIVER, JOBS, waiting
from llm_one_api.stores.ledger.words import reason
from llm_one_api.timetable import ALERTS, QUOTA_CHECK
from workers.celery_app import app, settings
from workers.parts import parts
from workers.schedule import HINT_EXPIRES, TICK_HARD_LIMIT, TICK_SOFT_LIMIT
from workers.slots import Task

log = structlog.get_logger()

ENOUGH_HINTS = {DELIVER: 4 * len(settings.plugins.stats), JOBS: 6}
"""Where so many wait, one more says nothing. Stale ones stay in the queue too until a worker throws them away."""


class Hint(Task):
    """A task that may be left out: nobody sends one, beat neither, while enough of them wait."""

    def apply_async(self, *arguments: Any, **named: Any) -> Any:
        """Send it, unless enough of them wait."""
        queue = named["queue"]
        return super().apply_async(*arguments, **named) if waiting(self.app, queue) < ENOUGH_HINTS[queue] else None


@app.task(name="stats.ingest")  # type: ignore[untyped-decorator]  # Celery has no types
def ingest(journal_id: str, batch_id: str, parcel: str | list[str]) -> None:
    """Keep a batch of records, tell the relay, and hint at deliveries. What fails is sent again by the relay."""
    try:
        # The lines themselves: a message from a relay of the version before.
        lines = parcel if isinstance(parcel, list) else unpack(parcel)
        mine = parts(settings)
        done = ingestion.ingest(mine.ledger, lines, lambda: _ack(journal_id, batch_id), mine.book)
    except Exception as error:  # the database's; or the parcel is none
        log.error("ingest.failed", batch=batch_id, error=reason(error, settings.ledger.url))
        return
    if done.new:
        # In any order: where hints have room for the first only, it is not the same plugin that gets it each time.
        for name in random.sample(settings.plugins.stats, len(settings.plugins.stats)):
            _hint(name)


@app.task(name="stats.deliver", base=Hint)  # type: ignore[untyped-decorator]
def deliver(plugin: str) -> None:
    """Bring one stats plugin up to date."""
    mine = parts(settings)
    if plugin not in mine.plugins.names:
        return  # it was taken out of the config after the hint was sent
    try:
        done = delivery.deliver(mine.ledger, plugin, mine.plugins, mine.pace)
    except Exception as error:  # the database's
        log.error("delivery.failed", plugin=plugin, error=reason(error, settings.ledger.url))
        return
    if done.more:
        _hint(plugin)


@app.task(name="jobs.tick", base=Hint, soft_time_limit=TICK_SOFT_LIMIT, time_limit=TICK_HARD_LIMIT)  # type: ignore[untyped-decorator]
def tick() -> None:
    """Do the periodic jobs that are due."""
    url = settings.ledger.url
    mine = parts(settings)
    try:
        jobs.tick(
            mine.ledger.job_runs, periodic.jobs(settings, mine), settings.zone, tell=lambda error: reason(error, url)
        )
    except Exception as error:  # the database's
        log.error("jobs.failed", error=reason(error, url))


@app.task(name="quota.check", base=Hint)  # type: ignore[untyped-decorator]
def check_quotas() -> None:
    """See whether Redis counts as used what the ledger has, and say what is used up."""
    mine = parts(settings)
    if not mine.limit_rules().have_quotas:
        return
    try:
        jobs.noted(mine.ledger.job_runs, QUOTA_CHECK, lambda: periodic.check_quotas(settings, mine))
    except (redis.RedisError, OSError) as error:
        log.warning("quota.check_failed", what="limits", kind=type(error).__name__)
    except Exception as error:  # the database's
        log.warning("quota.check_failed", what="ledger", error=reason(error, settings.ledger.url))


@app.task(name="alerts.check", base=Hint)  # type: ignore[untyped-decorator]
def check_alerts() -> None:
    """Look at the rules of alerts, and bring what waits to its channels."""
    mine = parts(settings)
    try:
        jobs.noted(mine.ledger.job_runs, ALERTS, periodic.each_minute(settings, mine)[ALERTS])
    except Exception as error:  # the database's
        log.warning("alerts.check_failed", error=reason(error, settings.ledger.url))


def _ack(journal_id: str, batch_id: str) -> None:
    try:
        parts(settings).acks.send(journal_id, batch_id)
    except redis.RedisError as error:  # kept all the same: it will be sent again, and known
        log.warning("ingest.ack_failed", batch=batch_id, kind=type(error).__name__)


def _hint(plugin: str) -> None:
    try:
        deliver.apply_async([plugin], queue=DELIVER, expires=HINT_EXPIRES)
    except Exception as error:  # whatever the broker's client raises; beat hints again
        log.warning("deliver.hint_failed", plugin=plugin, kind=type(error).__name__)
