"""`GET /v1/stats/pipeline`: the records' way, from this machine's journal to the plugins. For administrators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from flask import Flask, Response, request

from llm_one_api.errors import GatewayError
from llm_one_api.stores.journal.lock import relay_is_running
from llm_one_api.stores.ledger.pipeline import LedgerEnd
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.off_hub import in_sql, on_disk
from llm_one_api.web.stats import PATIENCE, say

log = structlog.get_logger()

T = TypeVar("T")

_NOW = (
    "pid", "started_at", "lag", "oldest_unacked", "unacked_batches", "planned_batches",
    "broker_away_since", "acks_away_since", "acked_bytes", "unsettled", "limits_away_since",
)  # fmt: skip
_COUNTED = (
    "sent", "acked", "resent", "adopted", "corrupt", "torn", "misfit", "lost", "lost_at", "pruned_until",
)  # fmt: skip


class ForAdministrators(GatewayError):
    """The page is not for this key."""

    status, code, type = 403, "admin_only", "invalid_request_error"


def register(
    app: Flask,
    authenticate: Authenticate,
    lookout: Lookout,
    whole: Callable[[], LedgerEnd],
    *,
    folder: Path,
    on_full: str,
) -> None:
    """Add the route; *whole* asks the ledger for its part."""

    @app.get("/v1/stats/pipeline")
    def pipeline() -> Response:
        if not authenticate(*credentials(request.environ)).admin:
            raise ForAdministrators("This page is for keys with `admin: true`.", code="admin_only")
        looked = _told("stats.journal_unavailable", lambda: on_disk(lambda: _look(lookout, folder), within=PATIENCE))
        end = _told("stats.ledger_unavailable", lambda: in_sql(whole, within=PATIENCE))
        return say(laid_out(lookout, on_full, alive=looked, end=end))


def laid_out(lookout: Lookout, on_full: str, *, alive: bool | None, end: LedgerEnd | None) -> dict[str, Any]:
    """Lay the page out; *alive*: whether a relay runs, None: the journal's folder cannot be looked at."""
    waiting = lookout.waiting
    journal = {
        "bytes": None if waiting is None else waiting.bytes,
        "segments": None if waiting is None else waiting.segments,
        "max_bytes": lookout.max_bytes,
        "full": lookout.journal.full,
        "on_full": on_full,
    }
    ledger, consumers = None, None
    if end is not None:
        ledger = {"last_seq": end.last_seq, "refused_records": end.refused_records}
        consumers = msgspec.to_builtins(end.consumers)
    return {"journal": journal, "relay": _relay(lookout, alive), "ledger": ledger, "consumers": consumers}


def _relay(lookout: Lookout, alive: bool | None) -> dict[str, Any]:
    """Lay out what the relay tells of itself; of what it told too long ago only what it has counted."""
    page: dict[str, Any] = {"alive": alive, "told_at": None, **dict.fromkeys((*_NOW, *_COUNTED))}
    told = lookout.last_told
    if told is not None:
        fields = msgspec.to_builtins(told, builtin_types=(datetime,)) | msgspec.to_builtins(told.figures)
        page["told_at"] = lookout.local(told.at)
        for name in _COUNTED if lookout.relay is None else (*_NOW, *_COUNTED):
            value = fields[name]
            page[name] = lookout.local(value) if isinstance(value, datetime) else value
    return page


def _look(lookout: Lookout, folder: Path) -> bool:
    lookout.look_at_disk()
    return relay_is_running(folder)


def _told(event: str, ask: Callable[[], T]) -> T | None:
    """Get an answer; None: there is none, which costs the page a part and no more."""
    try:
        return ask()
    except Exception as error:  # whatever the disk or the database's driver raises
        log.warning(event, kind=type(error).__name__)
        return None
