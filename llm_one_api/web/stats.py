"""`GET /v1/stats`: what the ledger knows. A key with `admin: true` sees all, any other its own calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog
from flask import Flask, Response, request

from llm_one_api.errors import BadRequest, GatewayError, Overloaded
from llm_one_api.plugins.interfaces import local_iso
from llm_one_api.values import UsageRecord
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.off_hub import in_sql

log = structlog.get_logger()

NEWEST, MOST_NEWEST = 20, 500
WINDOW = timedelta(hours=24)
PATIENCE = 15.0
"""Seconds that the ledger has to answer."""


class Ledger(Protocol):
    """What this page needs from the ledger."""

    def summary(self, since: datetime, until: datetime, key: str | None = None) -> Sequence[Any]:
        """Sum up by model."""

    def newest(self, limit: int, key: str | None = None, model: str | None = None) -> Sequence[UsageRecord]:
        """Give the newest records, newest first."""


class NotFound(GatewayError):
    """There is nothing there."""

    status, code, type = 404, "not_found", "invalid_request_error"


MemoryReader = Callable[[str | None], Mapping[str, Any]]


def register(
    app: Flask, authenticate: Authenticate, ledger: Ledger, zone: ZoneInfo, memory: MemoryReader | None
) -> None:
    """Add both routes; *memory* reads the memory plugin's figures, None: it is not on."""

    @app.get("/v1/stats")
    def stats() -> Response:
        caller = authenticate(*credentials(request.environ))
        key = None if caller.admin else caller.key
        until = _time("until", zone) or datetime.now(UTC) + timedelta(seconds=1)
        since = _time("since", zone) or until - WINDOW
        limit = _count("limit", NEWEST, MOST_NEWEST)
        try:
            models, newest = in_sql(
                lambda: (ledger.summary(since, until, key), ledger.newest(limit, key)), within=PATIENCE
            )
        except Exception as error:  # whatever the database's driver raises
            log.warning("stats.ledger_unavailable", kind=type(error).__name__)
            raise Overloaded("The ledger does not answer just now.", code="ledger_unavailable", retry_after=5) from None
        return say(
            {
                "since": local_iso(since, zone),
                "until": local_iso(until, zone),
                "scope": "all" if caller.admin else "own",
                "models": [_sums(model) for model in models],
                "newest": [shown(record, zone) for record in newest],
            }
        )

    @app.get("/v1/stats/memory")
    def memory_stats() -> Response:
        caller = authenticate(*credentials(request.environ))
        if memory is None:
            raise NotFound("The memory plugin is not on: add it to `plugins.stats` in the config.", code="plugin_off")
        try:
            return say(memory(None if caller.admin else caller.key))
        except Exception as error:  # whatever the store's client raises
            log.warning("stats.memory_unavailable", kind=type(error).__name__)
            raise Overloaded("Redis does not answer just now.", code="redis_unavailable", retry_after=5) from None


def shown(record: UsageRecord, zone: ZoneInfo) -> dict[str, Any]:
    """Lay out a record as it is shown, its time in *zone*."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["at"] = local_iso(record.at, zone)
    fields["cost"], fields["quota_cost"] = _plain(record.cost), _plain(record.quota_cost)
    return fields


def _sums(model: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(model)
    fields["cost"] = _plain(model.cost)
    return fields


def _plain(amount: Decimal | None) -> str | None:
    """Write an amount without an exponent, and without the zeros that one of the databases puts behind it."""
    if amount is None:
        return None
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(name: str, zone: ZoneInfo) -> datetime | None:
    """Read an ISO time from the query; without an offset it is in the configured zone."""
    text = request.args.get(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        at = None
    if at is None or not 1970 <= at.year < 9999:  # noqa: PLR2004 (so that no zone takes it out of what a datetime holds)
        raise BadRequest(f"`{name}` must be a time such as 2026-11-24T00:00:00+08:00.", param=name)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def _count(name: str, default: int, most: int) -> int:
    text = request.args.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise BadRequest(f"`{name}` must be a whole number from 0 to {most}.", param=name)
    return int(text)


def say(body: Any) -> Response:
    """Answer with JSON."""
    return Response(msgspec.json.encode(body), content_type="application/json")
