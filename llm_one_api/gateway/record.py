"""Fifth stage and last: one record a call, opened before the upstream is called, closed however the call ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from llm_one_api.errors import GatewayError, Overloaded
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.values import Attempt, Call, Caller, Outcome, Permit, Target, Usage, UsageRecord, UsageSource

NO_MODEL = "-"
"""The model of a call that was refused before its model was known."""


class Journal(Protocol):
    """What record needs from the journal."""

    @property
    def full(self) -> bool:
        """Whether the last entry could not be written."""

    def open(self, opened: Opened) -> None:
        """Append an OPEN."""

    def close(self, record: UsageRecord) -> None:
        """Append a CLOSE."""


class Entry:
    """The open record of one call. `close` may be said several times: the first counts."""

    __slots__ = ("_journal", "_opened", "_started", "attempts", "closed", "first_byte_at")

    def __init__(self, journal: Journal, opened: Opened, started: float) -> None:
        self._journal = journal
        self._opened = opened
        self._started = started
        self.attempts: list[Attempt] = []
        self.first_byte_at: float | None = None
        """`time.monotonic()` when the first byte of the answer's body was there."""
        self.closed = False

    def close(
        self,
        outcome: Outcome,
        *,
        status: int | None,
        error: str | None = None,
        usage: Usage | None = None,
        usage_source: UsageSource = "none",
        usage_raw: Mapping[str, Any] | None = None,
        response_model: str | None = None,
        service_tier: str | None = None,
        finish_reason: str | None = None,
        provider_request_id: str | None = None,
    ) -> None:
        """Write the record. *status* is what the caller was given; durations end now."""
        if self.closed:
            return
        self.closed = True
        opened = self._opened
        started = self._started
        self._journal.close(
            UsageRecord(
                request_id=opened.request_id,
                at=opened.at,
                model=opened.model,
                upstream_model=opened.upstream_model,
                response_model=response_model,
                service_tier=service_tier,
                user=opened.caller.user,
                key=opened.caller.key,
                group=opened.caller.group,
                end_user=opened.end_user,
                tags=opened.tags,
                client_request_id=opened.client_request_id,
                endpoint=opened.endpoint,
                stream=opened.stream,
                outcome=outcome,
                status=status,
                error=error,
                finish_reason=finish_reason,
                provider_request_id=provider_request_id,
                upstream=opened.upstream,
                attempts=tuple(self.attempts),
                duration=round(time.monotonic() - started, 6),
                ttft=None if self.first_byte_at is None else round(self.first_byte_at - started, 6),
                usage=usage or Usage(),
                usage_source=usage_source,
                usage_raw=usage_raw,
            )
        )


class Record:
    """Opens records, and keeps those of calls that we refuse."""

    def __init__(
        self,
        journal: Journal,
        *,
        refuse_when_full: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Write to *journal*; with *refuse_when_full* take no call that cannot be recorded."""
        self._journal = journal
        self._refuse_when_full = refuse_when_full
        self._clock = clock

    def open(
        self, call: Call, caller: Caller, target: Target, permit: Permit, *, stream: bool, end_user: str | None
    ) -> Entry:
        """Write the OPEN of a call about to be sent upstream. Raises Overloaded if it cannot be kept and must."""
        opened = Opened(
            request_id=call.id,
            at=self._clock(),
            caller=caller,
            permit=permit,
            model=target.model,
            upstream_model=target.upstream_model,
            upstream=target.upstream.name,
            end_user=end_user,
            tags=call.tags,
            client_request_id=call.client_request_id,
            endpoint=call.endpoint,
            stream=stream,
        )
        self._journal.open(opened)
        if self._refuse_when_full and self._journal.full:
            raise Overloaded(
                "Calls cannot be recorded just now, so none is taken. Try again.", code="journal_full", retry_after=5
            )
        return Entry(self._journal, opened, call.started)

    def reject(self, call: Call, caller: Caller, error: GatewayError, *, model: str | None, stream: bool) -> None:
        """Keep a call that we refused after its caller was known."""
        self._journal.close(
            UsageRecord(
                request_id=call.id,
                at=self._clock(),
                model=model[:200] if model else NO_MODEL,
                user=caller.user,
                key=caller.key,
                group=caller.group,
                tags=call.tags,
                client_request_id=call.client_request_id,
                endpoint=call.endpoint,
                stream=stream,
                outcome="rejected",
                status=error.status,
                error=error.code,
                duration=round(time.monotonic() - call.started, 6),
            )
        )
