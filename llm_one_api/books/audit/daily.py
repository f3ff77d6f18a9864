"""The audit of the day that is over: what it finds is logged, and kept with the run of the job."""

from __future__ import annotations

from datetime import date

import structlog

from llm_one_api.books.audit.audit import AGREES, DIFFERS, Report, audit
from llm_one_api.books.audit.check import Context
from llm_one_api.books.jobs import Done

log = structlog.get_logger()


def audit_day(context: Context, day: date) -> Done:
    """Look at *day*, which is what *context* covers; repair nothing. Raises what the ledger raises."""
    report = audit(context)
    differ = {each.check.name: each.found.count for each in report.checked if each.found.count}
    unchecked = {each.check.name: each.found.unchecked for each in report.checked if each.found.unchecked}
    command = f"llm-one-api verify --day {day}"
    if report.verdict == DIFFERS:
        log.error("audit.differs", day=str(day), differences=differ, unchecked=unchecked, see=command)
    elif unchecked:
        log.warning("audit.incomplete", day=str(day), unchecked=unchecked, see=command)
    else:
        log.info("audit.agrees", day=str(day), **_compared(report))
    result = {
        "day": str(day),
        "checks": {each.check.name: each.found.state for each in report.checked},
        "differences": differ,
        "unchecked": unchecked,
    }
    return Done(ok=report.verdict == AGREES, result=result)


def _compared(report: Report) -> dict[str, int]:
    """Tell of how many calls that holds."""
    return {
        "records": sum(each.found.compared.get("records", 0) for each in report.checked if each.check.name == "rollups")
    }
