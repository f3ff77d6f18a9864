"""`GET /v1/stats/calls/{request_id}`: one call's record. A key with `admin: true` sees all, any other its own calls."""

from __future__ import annotations

from typing import Protocol
from zoneinfo import ZoneInfo

import structlog
from flask import Flask, Response, request

from llm_one_api.errors import Overloaded
from llm_one_api.values import UsageRecord
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.off_hub import in_sql
from llm_one_api.web.stats import PATIENCE, NotFound, say, shown

log = structlog.get_logger()


class Ledger(Protocol):
    """What this page needs from the ledger."""

    def find(self, request_id: str, key: str | None = None) -> UsageRecord | None:
        """Give one call's record."""


def register(app: Flask, authenticate: Authenticate, ledger: Ledger, zone: ZoneInfo) -> None:
    """Add the route."""

    @app.get("/v1/stats/calls/<request_id>")
    def call(request_id: str) -> Response:
        caller = authenticate(*credentials(request.environ))
        key = None if caller.admin else caller.key
        try:
            # No id has a NUL, and PostgreSQL would take the question for a fault.
            record = None if "\0" in request_id else in_sql(lambda: ledger.find(request_id, key), within=PATIENCE)
        except Exception as error:  # whatever the database's driver raises
            log.warning("stats.ledger_unavailable", kind=type(error).__name__)
            raise Overloaded("The ledger does not answer just now.", code="ledger_unavailable", retry_after=5) from None
        if record is None:
            raise NotFound(
                "The ledger has no such call of yours. A call is there about a second after its end.",
                code="unknown_call",
            )
        return say(shown(record, zone))
