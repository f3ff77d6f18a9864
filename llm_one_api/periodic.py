"""The periodic jobs. To add one: a row in `timetable.py`, and a function that does it and may be called twice.

Workers do them when beat strikes, and `llm-one-api jobs run` does them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import msgspec

from llm_one_api.alerting import check_alerts
from llm_one_api.books.audit.check import Context
from llm_one_api.books.audit.daily import audit_day
from llm_one_api.books.closing import close_periods
from llm_one_api.books.jobs import Done, Job, Period, due
from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.books.reports.export.days import Wish, export_late, export_period
from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Target
from llm_one_api.books.retention import Keeping, quarters_since, retain
from llm_one_api.limits.rules import Rules
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.timetable import ALERTS, EXPORT, EXPORT_LATE, LATE_RECORDS, QUOTA_CHECK, planned


class Means(Protocol):
    """What jobs are done with."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    @property
    def patient_limits(self) -> LimitStore:
        """The limit store, with seconds to answer."""

    def limit_rules(self) -> Rules:
        """Tell which limits there are now."""

    def alerting(self) -> Alerting:
        """Tell which rules and channels there are now."""


def jobs(settings: Settings, means: Means) -> tuple[Job, ...]:
    """Give what is done for each hour or day, with who does it."""
    return tuple(
        Job(**msgspec.structs.asdict(each), run=partial(_EACH_PERIOD[each.name], settings, means))
        for each in planned(settings)
        if each.every != "minute"
    )


def each_minute(settings: Settings, means: Means) -> Mapping[str, Callable[[], Done]]:
    """Give what is done each minute, by name. All raise what the ledger or Redis raises."""
    return {
        each.name: partial(_EACH_MINUTE[each.name], settings, means)
        for each in planned(settings)
        if each.every == "minute"
    }


def check_quotas(settings: Settings, means: Means) -> Done:
    """See whether Redis counts as used what the ledger has, and say what is used up."""
    found = QuotaCheck(means.ledger.quotas, means.patient_limits, means.limit_rules(), settings.zone).run()
    return Done(result={"compared": found.compared, "trouble": found.trouble, "corrected": len(found.windows)})


def _retain(settings: Settings, means: Means, _period: Period) -> Done:
    keeping = Keeping(records_days=settings.ledger.keep_records_days, quarters_days=settings.ledger.keep_quarters_days)
    runs = means.ledger.job_runs
    # Calls of a day that still waits for its export are not deleted before it.
    waiting = [due(runs, job, settings.zone) for job in planned(settings) if job.name == EXPORT]
    unexported = min((day.start for days in waiting for day in days), default=None)
    return retain(means.ledger, settings.plugins.stats, keeping, runs.now(), unexported=unexported)


def _close(settings: Settings, means: Means, _period: Period) -> Done:
    return close_periods(means.ledger.closing, settings.zone, means.ledger.job_runs.now())


def _export(settings: Settings, means: Means, period: Period) -> Done:
    return export_period(means.ledger, _wish(settings), period)


def _export_late(settings: Settings, means: Means, _period: Period) -> Done:
    return export_late(means.ledger, _wish(settings), means.ledger.job_runs.now() - LATE_RECORDS)


def _wish(settings: Settings) -> Wish:
    export = settings.export
    return Wish(
        target=_exports(settings), zone=settings.zone, formats=export.formats, look_back=export.look_back_days
    )  # fmt: skip


def _exports(settings: Settings) -> Target:
    return target_of(settings.export_to, settings.export.storage_options, masked)


def _audit(settings: Settings, means: Means, period: Period) -> Done:
    memory = None
    if "memory" in settings.plugins.stats:
        memory = MemoryStatsPlugin(PluginConfig(settings.stats.get("memory") or {}, settings.plugin_context()))
    now = means.ledger.job_runs.now()
    context = Context(
        ledger=means.ledger,
        since=period.start,
        until=period.end,
        now=now,
        quarters_since=quarters_since(now, settings.ledger.keep_quarters_days),
        memory=memory,
        journal=settings.journal_folder,
        limits=means.patient_limits if means.limit_rules().have_quotas else None,
        exports=partial(_exports, settings) if settings.export.enabled else None,
        zone=settings.zone,
    )
    try:
        return audit_day(context, period.start.astimezone(settings.zone).date())
    finally:
        if memory is not None:
            memory.cleanup()


_EACH_PERIOD: Mapping[str, Callable[[Settings, Means, Period], Done]] = {
    "retention": _retain,
    "sums": _close,
    EXPORT: _export,
    EXPORT_LATE: _export_late,
    "audit": _audit,
}
_EACH_MINUTE: Mapping[str, Callable[[Settings, Means], Done]] = {ALERTS: check_alerts, QUOTA_CHECK: check_quotas}
