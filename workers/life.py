"""A worker's beginning and end."""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

import structlog
from celery.signals import (
    celeryd_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)

from llm_one_api.books.farewell import ELSEWHERE, TakingPart, farewell
from llm_one_api.broker import DELIVER, JOBS
from llm_one_api.lifetime import look_for_cycles_seldom
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.settings import masked
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.words import reason
from workers.celery_app import settings
from workers.parts import close, parts
from workers.schedule import TICK_EVERY

log = structlog.get_logger()

_me = f"worker:{uuid4().hex}"
_taking_part: TakingPart | None = None


@celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def look_at_the_ledger(**_signal: object) -> None:
    """Make SQLite's tables; end with what to do if PostgreSQL's are behind. A database that is away is waited for."""
    url = settings.ledger.url
    try:
        ledger = Ledger(url)
        try:
            ledger.open()
        finally:
            ledger.close()
    except SchemaBehind as error:
        raise SystemExit(f"error: {error}") from None
    except (DatabaseError, OSError) as error:
        log.warning("ledger.unavailable", ledger=masked(url), error=reason(error, url))


@worker_ready.connect  # type: ignore[untyped-decorator]
def take_part(sender: Any, **_signal: object) -> None:
    """Take part in the memory plugin's run, if this worker delivers and says its own farewell."""
    global _taking_part  # noqa: PLW0603 (one worker a process)
    delivers = DELIVER in sender.app.amqp.queues.consume_from and "memory" in settings.plugins.stats
    if delivers and not os.environ.get(ELSEWHERE):
        section = settings.stats.get("memory") or {}
        _taking_part = TakingPart(MemoryStatsPlugin(PluginConfig(section, settings.plugin_context())), _me)


@worker_ready.connect  # type: ignore[untyped-decorator]
def look_at_the_quotas(sender: Any, **_signal: object) -> None:
    """Have the counters of quotas looked at, if this worker does such jobs: nobody may have done so for long."""
    if JOBS in sender.app.amqp.queues.consume_from and settings.limit_rules().have_quotas:
        try:
            sender.app.tasks["quota.check"].apply_async(queue=JOBS, expires=TICK_EVERY)
        except Exception as error:  # whatever the broker's client raises; beat hints again
            log.warning("quota.hint_failed", kind=type(error).__name__)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def waste_no_time(**_signal: object) -> None:
    """Begin a process of the pool."""
    look_for_cycles_seldom()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_the_process(**_signal: object) -> None:
    """Clean up the plugins in the process that used them."""
    close()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def say_farewell(**_signal: object) -> None:
    """Print the memory plugin's summary when the last delivering worker has stopped."""
    if _taking_part is not None:
        _taking_part.end()
        mine = parts(settings)
        farewell(mine.ledger, mine.plugins, _me)
    close()
