"""Seventh stage: pass the answer on as it comes, and close the record before its end is seen."""

from __future__ import annotations

import time
from contextlib import suppress

from llm_one_api.dialects import openai
from llm_one_api.errors import GatewayError, Overloaded, UpstreamAuthFailed, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.forward import Answer, ClientLeft, ended_by
from llm_one_api.gateway.http import BadAnswer, ConnectionEnded
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import Reply, StreamBroken
from llm_one_api.gateway.stream import Stream
from llm_one_api.gateway.watch import Cut, Visit, Watch
from llm_one_api.values import Outcome

HELD = 1024 * 1024
"""An answer of up to this many bytes is passed on as a whole, so one that breaks midway can still be a clean error."""
ENDS = 64 * 1024
"""Of a longer answer, which passes as it comes, so much of its two ends is kept to read the usage from."""


class Meter:
    """Turns answers into replies."""

    def __init__(self, watch: Watch) -> None:
        """Use *watch* for the waits between reads."""
        self._watch = watch

    def __call__(self, answer: Answer, entry: Entry, visit: Visit) -> Reply:
        """Give the reply; its record is closed when its end was read. Raises a GatewayError before the first byte."""
        status = answer.status
        if status in {401, 403}:
            answer.abort()
            raise UpstreamAuthFailed(
                "The model's upstream refused the gateway's credentials; the operator has to look at its key."
            )
        if 300 <= status < 400:  # noqa: PLR2004
            answer.abort()
            raise UpstreamFailed("The model's upstream answered with a redirect.", code="upstream_redirect")
        if answer.headers.get("content-type", "").lower().startswith("text/event-stream") and status < 300:  # noqa: PLR2004
            return Reply(
                status=status,
                headers=answer.headers,
                body=Stream(answer, entry, visit, self._watch),
                waited=visit.waited,
            )
        return self._whole(answer, entry, visit)

    def _whole(self, answer: Answer, entry: Entry, visit: Visit) -> Reply:
        pieces: list[bytes] = []
        size = 0
        while True:
            piece = _read(answer, entry, visit)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if answer.complete and size == len(piece):
                break  # the usual small answer: all in the first read
            if size > HELD:
                return Reply(
                    status=answer.status,
                    headers=answer.headers,
                    body=LongAnswer(answer, entry, visit, self._watch, pieces),
                    waited=visit.waited,
                )
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        close_whole(answer, entry, openai.read_answer(body), gone=visit.client_gone)
        answer.finish()
        self._watch.leave(visit)
        return Reply(status=answer.status, headers=answer.headers, body=(body,), waited=visit.waited, length=len(body))


class LongAnswer:
    """The body of a long answer that is no stream: always one piece behind, so the record is closed before the last."""

    def __init__(self, answer: Answer, entry: Entry, visit: Visit, watch: Watch, pieces: list[bytes]) -> None:
        self._answer = answer
        self._entry = entry
        self._visit = visit
        self._watch = watch
        self._waiting: bytes = b"".join(pieces)
        self._size = len(self._waiting)
        self._first, self._last = self._waiting[:ENDS], self._waiting[-ENDS:]

    def __iter__(self) -> LongAnswer:
        return self

    def __next__(self) -> bytes:
        if self._visit.client_gone and not self._entry.closed:
            raise StreamBroken
        piece, self._waiting = self._waiting, b""
        if not piece:
            raise StopIteration
        if not self._entry.closed:
            try:
                self._advance()
            except GatewayError as error:
                self._close(_outcome_midway(error), error.code)
                raise StreamBroken from None
        self._visit.wait_caller()
        return piece

    def close(self) -> None:
        """Record a caller that left, if there was an end that it did not see."""
        self._visit.go_on()  # it may have been the caller that was waited for
        if not self._entry.closed:
            why = self._visit.cut_for or "client_gone"
            if why == "client_gone" and self._watch.bounds.on_client_gone == "drain":
                self._drain()
            self._close("aborted" if why == "draining" else "client_gone", why)
        self._answer.abort()
        self._watch.leave(self._visit)

    def _advance(self) -> None:
        """Wait for the next piece, or close the record at the end. Raises a GatewayError."""
        self._waiting = _read(self._answer, self._entry, self._visit)
        if self._waiting:
            self._size += len(self._waiting)
            self._last = (self._last + self._waiting)[-ENDS:]
        else:
            told = openai.read_ends(self._first, self._last)
            close_whole(self._answer, self._entry, told, gone=self._visit.client_gone)
            self._answer.finish()

    def _drain(self) -> None:
        """Read on without the caller, within bounds, to learn the usage."""
        most = self._size + self._watch.bounds.drain_bytes
        self._watch.read_on(self._visit)
        with suppress(GatewayError):
            while self._size < most and not self._entry.closed:
                self._advance()

    def _close(self, outcome: Outcome, error: str) -> None:
        """Close the record of an answer that was not read to its end, if it is not closed yet."""
        self._entry.close(
            outcome,
            status=self._answer.status,
            error=error,
            provider_request_id=self._answer.provider_request_id,
        )


def _read(answer: Answer, entry: Entry, visit: Visit) -> bytes:
    """Wait for a piece. Raises a GatewayError; the connection is closed then."""
    if not answer.complete:
        if entry.first_byte_at is None:
            visit.wait("first_byte", answer.upstream.first_byte_timeout)
        else:
            visit.wait("idle", answer.upstream.idle_timeout)
    try:
        piece = answer.read()
    except Cut as cut:
        answer.abort()
        raise ended_by(cut.why) from None
    except (OSError, ConnectionEnded, BadAnswer):
        answer.abort()
        raise UpstreamFailed(
            "The model's upstream closed the connection before its answer was complete.", code="upstream_truncated"
        ) from None
    finally:
        visit.go_on()
    if entry.first_byte_at is None:
        entry.first_byte_at = time.monotonic()
    return piece


def close_whole(answer: Answer, entry: Entry, told: openai.Told | None, *, gone: bool) -> None:
    """Close the record of an answer that was read to its end; *gone*: without its caller."""
    status = answer.status
    usage_raw = told.usage_raw if told else None
    usage = openai.usage_of(usage_raw)
    outcome = "client_gone" if gone else outcome_of(status)
    error = None
    if outcome != "success":
        error = "client_gone" if gone else ((told and told.error_code) or f"http_{status}")
    entry.close(
        outcome,
        status=status,
        error=error,
        usage=usage,
        usage_source="reported" if usage else "none",
        usage_raw=usage_raw,
        response_model=told.model if told else None,
        service_tier=told.service_tier if told else None,
        finish_reason=told.finish_reason if told else None,
        provider_request_id=answer.provider_request_id,
    )


def outcome_of(status: int) -> Outcome:
    """Tell what an upstream's status means; 401 and 403 do not come here."""
    if status < 400:  # noqa: PLR2004
        return "success"
    if status == 408:  # noqa: PLR2004
        return "timeout"
    return "upstream_error" if status == 429 or status >= 500 else "client_error"  # noqa: PLR2004


def _outcome_midway(error: GatewayError) -> Outcome:
    """Tell how an answer ended that broke after a part of it had been passed on."""
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    if isinstance(error, ClientLeft):
        return "client_gone"
    return "aborted" if isinstance(error, Overloaded) else "truncated"
