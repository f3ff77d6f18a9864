"""A worker's beginning and end."""

from __future__ import annotations

from typing import Any

import structlog
from celery.signals import celeryd_init, worker_process_shutdown, worker_ready, worker_shutdown

from llm_one_api.books.farewell import farewell
from llm_one_api.broker import DELIVER
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.schema import SchemaBehind
from workers.celery_app import settings
from workers.parts import close, parts

log = structlog.get_logger()

_delivers = False


@celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def look_at_the_ledger(**_signal: object) -> None:
    """Make SQLite's tables; end with what to do if PostgreSQL's are behind. A database that is away is waited for."""
    ledger = Ledger(settings.ledger.url)
    try:
        ledger.open()
    except SchemaBehind as error:
        raise SystemExit(f"error: {error}") from None
    except DatabaseError as error:
        log.warning("ledger.unavailable", kind=type(error).__name__)
    finally:
        ledger.close()


@worker_ready.connect  # type: ignore[untyped-decorator]
def note_the_queues(sender: Any, **_signal: object) -> None:
    """Remember whether this worker delivers."""
    global _delivers  # noqa: PLW0603 (one worker a process)
    _delivers = DELIVER in sender.app.amqp.queues.consume_from


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_the_process(**_signal: object) -> None:
    """Clean up the plugins in the process that used them."""
    close()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def say_farewell(**_signal: object) -> None:
    """Print the memory plugin's summary when a delivering worker has stopped."""
    if _delivers:
        mine = parts(settings)
        farewell(mine.ledger, mine.plugins)
    close()
