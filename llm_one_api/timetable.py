"""When which periodic job is to be done: known also to those who do none, to tell that one is overdue."""

from __future__ import annotations

from datetime import timedelta

from llm_one_api.books.jobs import Planned
from llm_one_api.settings import Settings

LATE_RECORDS = timedelta(minutes=10)
"""How long after a day's end its last records are expected to be in the ledger."""
ALERTS, QUOTA_CHECK = "alerts", "quota-check"
EXPORT, EXPORT_LATE = "export", "export-late"


def planned(settings: Settings) -> tuple[Planned, ...]:
    """List what is to be done, by *settings*. Who does what is in `periodic.py`."""
    found = [
        *(_exports() if settings.export.enabled else ()),
        Planned(name="retention", every="hour", delay=timedelta(minutes=5), catch_up=None),
        Planned(name="sums", every="hour", delay=LATE_RECORDS + timedelta(minutes=1), catch_up=None),
        Planned(name="audit", every="day", delay=LATE_RECORDS),
        Planned(name=ALERTS, every="minute"),
    ]
    if settings.limit_rules().have_quotas:
        found.append(Planned(name=QUOTA_CHECK, every="minute"))
    return tuple(found)


def _exports() -> tuple[Planned, ...]:
    """Come before retention, which deletes what they read, and before the audit, which looks at what was exported."""
    return (
        Planned(name=EXPORT, every="day", delay=LATE_RECORDS),
        Planned(name=EXPORT_LATE, every="hour", delay=2 * LATE_RECORDS, catch_up=None),
    )
