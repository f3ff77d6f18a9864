"""The periodic jobs. To add one: a row, and a function in `books` that does it for a period and may be called twice."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from llm_one_api.books.audit.check import Context
from llm_one_api.books.audit.daily import audit_day
from llm_one_api.books.jobs import Done, Job, Period
from llm_one_api.books.retention import Keeping, quarters_since, retain
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.settings import Settings
from workers.parts import Parts

LATE_RECORDS = timedelta(minutes=10)
"""How long after a day's end its last records are expected to be in the ledger."""


def jobs(settings: Settings, mine: Parts) -> tuple[Job, ...]:
    """List them: what is done for each hour or day, and how long after its end."""
    return (
        Job(
            name="retention",
            every="hour",
            delay=timedelta(minutes=5),
            run=partial(_retain, settings, mine),
            catch_up=None,
        ),
        Job(name="audit", every="day", delay=LATE_RECORDS, run=partial(_audit, settings, mine)),
    )


def _retain(settings: Settings, mine: Parts, _period: Period) -> Done:
    keeping = Keeping(records_days=settings.ledger.keep_records_days, quarters_days=settings.ledger.keep_quarters_days)
    return retain(mine.ledger, settings.plugins.stats, keeping, mine.ledger.job_runs.now())


def _audit(settings: Settings, mine: Parts, period: Period) -> Done:
    memory = None
    if "memory" in settings.plugins.stats:
        memory = MemoryStatsPlugin(PluginConfig(settings.stats.get("memory") or {}, settings.plugin_context()))
    now = mine.ledger.job_runs.now()
    context = Context(
        ledger=mine.ledger,
        since=period.start,
        until=period.end,
        now=now,
        quarters_since=quarters_since(now, settings.ledger.keep_quarters_days),
        memory=memory,
        journal=settings.journal_folder,
        limits=mine.patient_limits if mine.rules.now().have_quotas else None,
        zone=settings.zone,
    )
    try:
        return audit_day(context, period.start.astimezone(settings.zone).date())
    finally:
        if memory is not None:
            memory.cleanup()
