"""Seventh stage and last: one record a call, opened before the upstream is called, closed however the call ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from msgspec import structs

from llm_one_api.dialects.told import NOTHING, Told
from llm_one_api.dialects.usage import UNKNOWN, Measured
from llm_one_api.errors import GatewayError, Overloaded
from llm_one_api.gateway.counts import Counting, Counts, Fill, speed
from llm_one_api.limits.charging import UNANSWERED, tokens_of
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.targets import Target
from llm_one_api.values import NO_MODEL, NO_USAGE, Attempt, Call, Caller, Outcome, Permit, Usage, UsageRecord

_NOTHING_USED = Usage(total_tokens=0)


class Journal(Protocol):
    """What record needs from the journal."""

    @property
    def full(self) -> bool:
        """Whether the last entry could not be written."""

    def open(self, opened: Opened) -> None:
        """Append an OPEN."""

    def end(self, record: UsageRecord) -> None:
        """Append an ENDED: the record without the tokens that are still being counted."""

    def close(self, record: UsageRecord) -> None:
        """Append a CLOSE."""


class Grant(Protocol):
    """What record needs of what the call was given."""

    @property
    def permit(self) -> Permit:
        """What is kept with the call."""

    def release(self, usage: Usage | None) -> None:
        """Tell that the call has ended."""


class Entry:
    """The open record of one call. `close` may be said several times: the first counts."""

    __slots__ = (
        "_counts", "_grant", "_journal", "_opened", "_started", "attempts", "closed", "counting", "end_user",
        "first_byte_at", "provider_request_id", "stream", "upstream", "upstream_model",
    )  # fmt: skip

    def __init__(self, journal: Journal, counts: Counts, opened: Opened, started: float, grant: Grant) -> None:
        self._journal = journal
        self._counts = counts
        self._grant = grant
        self._opened = opened
        self._started = started
        self.attempts: list[Attempt] = []
        self.counting: Counting | None = None
        """Counts the tokens that the upstream does not tell; None: they cannot be counted."""
        self.first_byte_at: float | None = None
        """`time.monotonic()` when the first byte of the answer's body was there."""
        self.provider_request_id: str | None = None
        """The upstream's own id of the call, of its last answer."""
        self.stream = opened.stream
        self.end_user = opened.end_user
        self.upstream = opened.upstream
        self.upstream_model = opened.upstream_model
        self.closed = False

    def goes_to(self, target: Target) -> None:
        """Another upstream is asked now; of the answer of the one before, nothing was passed on."""
        self.upstream, self.upstream_model = target.upstream.name, target.upstream_model
        self.first_byte_at = None
        self.provider_request_id = None

    def spoils(self, error: str) -> None:
        """Note that the last attempt's answer could not be used after all."""
        if self.attempts and self.attempts[-1].error is None:
            self.attempts[-1] = structs.replace(self.attempts[-1], error=error)

    def close(
        self,
        outcome: Outcome,
        *,
        status: int | None,
        error: str | None = None,
        told: Told = NOTHING,
        measured: Measured = UNKNOWN,
        cut: bool = False,
        count: Fill | None = None,
    ) -> None:
        """Write the record. *status* is what the caller was given; durations end now. *cut*: there was more to come.

        With *count*, tokens that were not told are counted first, and by *count* put into their places; the record is
        on disk before that, without them.
        """
        if self.closed:
            return
        self.closed = True
        opened = self._opened
        started = self._started
        usage = measured.usage
        duration = time.monotonic() - started
        ttft = None if self.first_byte_at is None else self.first_byte_at - started
        permit = opened.permit
        self._grant.release(_NOTHING_USED if usage is None and outcome in UNANSWERED else usage)
        record = UsageRecord(
            request_id=opened.request_id,
            at=opened.at,
            model=opened.model,
            upstream_model=self.upstream_model,
            response_model=told.model,
            service_tier=told.service_tier,
            user=opened.caller.user,
            key=opened.caller.key,
            group=opened.caller.group,
            end_user=self.end_user,
            tags=opened.tags,
            client_request_id=opened.client_request_id,
            endpoint=opened.endpoint,
            stream=self.stream,
            outcome=outcome,
            status=status,
            error=error,
            finish_reason=told.finish_reason,
            provider_request_id=self.provider_request_id,
            upstream=self.upstream,
            attempts=tuple(self.attempts),
            duration=round(duration, 6),
            ttft=None if ttft is None else round(ttft, 6),
            usage=usage or NO_USAGE,
            usage_source="none" if usage is None else "partial" if cut else "reported",
            usage_raw=told.usage_raw,
            usage_faults=measured.faults,
            output_tokens_per_second=None if usage is None else speed(usage, duration, ttft, stream=self.stream),
            sdk_retry_count=opened.sdk_retry_count,
            quota_windows=permit.windows,
            quota_tokens=tokens_of(outcome, usage or NO_USAGE, permit) if permit.windows else None,
        )
        counting, self.counting = self.counting, None
        if counting is None:
            self._journal.close(record)
        elif count is None:
            counting.drop()
            self._journal.close(record)
        else:
            self._journal.end(record)
            self._counts.later(self._journal, record, counting, count, permit)


class Record:
    """Opens records, and keeps those of calls that we refuse."""

    def __init__(
        self,
        journal: Journal,
        counts: Counts | None = None,
        *,
        refuse_when_full: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Write to *journal*; with *refuse_when_full* take no call that cannot be recorded."""
        self._journal = journal
        self._counts = counts or Counts()
        self._refuse_when_full = refuse_when_full
        self._clock = clock

    def open(
        self, call: Call, caller: Caller, target: Target, grant: Grant, *, stream: bool, end_user: str | None
    ) -> Entry:
        """Write the OPEN of a call about to be sent upstream. Raises Overloaded if it cannot be kept and must."""
        opened = Opened(
            request_id=call.id,
            at=self._clock(),
            caller=caller,
            permit=grant.permit,
            model=target.model,
            upstream_model=target.upstream_model,
            upstream=target.upstream.name,
            end_user=end_user,
            tags=call.tags,
            client_request_id=call.client_request_id,
            endpoint=call.endpoint,
            stream=stream,
            sdk_retry_count=call.sdk_retry_count,
        )
        self._journal.open(opened)
        if self._refuse_when_full and self._journal.full:
            raise Overloaded(
                "Calls cannot be recorded just now, so none is taken. Try again.", code="journal_full", retry_after=5
            )
        return Entry(self._journal, self._counts, opened, call.started, grant)

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
                sdk_retry_count=call.sdk_retry_count,
            )
        )
