"""Last stage: pass the answer on as it comes, and close the record before its end is seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from llm_one_api.dialects.adapters import Translation
from llm_one_api.dialects.told import Told
from llm_one_api.errors import GatewayError, Overloaded, UpstreamAuthFailed, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.answer import Answer, ClientLeft, ended_by
from llm_one_api.gateway.closing import close
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.http import BadAnswer, ConnectionEnded
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import Reply, StreamBroken
from llm_one_api.gateway.stream import Stream
from llm_one_api.gateway.watch import Cut, Visit, Watch
from llm_one_api.values import Outcome

HELD = 1024 * 1024
"""An answer of up to this many bytes is passed on as a whole, so one that breaks midway can still be a clean error."""
MOST_TRANSLATED = 32 * 1024 * 1024
"""A translated answer is read as a whole, and is not longer than this."""
ENDS = 64 * 1024
"""Of a longer answer, which passes as it comes, so much of its two ends is kept to read the usage from."""


class Meter:
    """Turns answers into replies."""

    def __init__(self, watch: Watch) -> None:
        """Use *watch* for the waits between reads."""
        self._watch = watch

    def __call__(self, answer: Answer, endpoint: Endpoint, entry: Entry, visit: Visit, *, wait: bool = False) -> Reply:
        """Give the reply; its record is closed when its end was read. Raises a GatewayError before the first byte.

        *wait*: another upstream may still be asked, so that a stream is not begun before its first byte is there.
        """
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
            entry.stream = True  # of a form this may not have been known
            if wait and not answer.has_body:
                answer.connection.unread(_read(answer, entry, visit))
            return Reply(
                status=status,
                headers=answer.headers,
                body=Stream(answer, endpoint, entry, visit, self._watch),
                waited=visit.waited,
            )
        return self._whole(answer, endpoint, entry, visit)

    def _whole(self, answer: Answer, endpoint: Endpoint, entry: Entry, visit: Visit) -> Reply:
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
            if size > HELD and answer.ready.translation is None:
                return Reply(
                    status=answer.status,
                    headers=answer.headers,
                    body=LongAnswer(answer, endpoint, entry, visit, self._watch, pieces),
                    waited=visit.waited,
                )
            if size > MOST_TRANSLATED:
                answer.abort()
                raise UpstreamFailed("The model's upstream answered with too much.", code="upstream_bad_answer")
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        dialect = answer.ready.dialect
        if answer.connection.length_in_doubt and not _is_whole(answer, body):
            answer.abort()
            raise UpstreamFailed("The model's upstream sent a part of an answer.", code="upstream_truncated")
        told = dialect.read_answer(body)
        translation = answer.ready.translation
        shown = body if translation is None else _translated(answer, translation, body)
        close_whole(answer, endpoint, entry, told, gone=visit.client_gone, text=lambda: dialect.text_of(body))
        answer.finish()
        self._watch.leave(visit)
        return Reply(
            status=answer.status, headers=answer.headers, body=(shown,), waited=visit.waited, length=len(shown)
        )  # fmt: skip


class LongAnswer:
    """The body of a long answer that is no stream: always one piece behind, so the record is closed before the last."""

    def __init__(
        self, answer: Answer, endpoint: Endpoint, entry: Entry, visit: Visit, watch: Watch, pieces: list[bytes]
    ) -> None:
        self._answer = answer
        self._endpoint = endpoint
        self._entry = entry
        self._visit = visit
        self._watch = watch
        self._waiting: bytes = b"".join(pieces)
        self._size = len(self._waiting)
        self._first, self._last = self._waiting[:ENDS], self._waiting[-ENDS:]
        self._count = 0
        self._tail = b""
        self._hear(self._waiting)

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
            if why == "client_gone" and self._visit.drains:
                self._drain()
            self._close("aborted" if why == "draining" else "client_gone", why)
        self._answer.abort()
        self._watch.leave(self._visit)

    def _advance(self) -> None:
        """Wait for the next piece, or close the record at the end. Raises a GatewayError."""
        self._waiting = _read(self._answer, self._entry, self._visit)
        if self._waiting:
            self._size += len(self._waiting)
            self._hear(self._waiting)
            self._last = (self._last + self._waiting)[-ENDS:]
        else:
            told = self._answer.ready.dialect.read_ends(self._first, self._last, self._count)
            close_whole(self._answer, self._endpoint, self._entry, told, gone=self._visit.client_gone)
            self._answer.finish()

    def _hear(self, piece: bytes) -> None:
        """Take note of what passes. The text is counted as it stands, with what JSON puts around it: an estimate."""
        counted = self._answer.ready.dialect.counted
        if counted:
            seen = self._tail + piece
            self._count += seen.count(counted)
            self._tail = seen[1 - len(counted) :]
        if self._entry.counting is not None and self._endpoint.counts_output:
            self._entry.counting.hear(piece.decode("utf-8", "replace"))

    def _drain(self) -> None:
        """Read on without the caller, within bounds, to learn the usage."""
        most = self._size + self._watch.bounds.drain_bytes
        self._watch.read_on(self._visit)
        with suppress(GatewayError):
            while self._size < most and not self._entry.closed:
                self._advance()

    def _close(self, outcome: Outcome, error: str) -> None:
        """Close the record of an answer that was not read to its end, if it is not closed yet."""
        close(self._entry, self._answer, self._endpoint, outcome, error, None)


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
        answer.begins(entry)
    return piece


def close_whole(
    answer: Answer,
    endpoint: Endpoint,
    entry: Entry,
    told: Told | None,
    *,
    gone: bool,
    text: Callable[[], str] | None = None,
) -> None:
    """Close the record of an answer that was read to its end; *gone*: without its caller; *text*: what it says."""
    counting = entry.counting
    outcome = "client_gone" if gone else outcome_of(answer.status)
    error = told.error if told else None
    if outcome == "success":
        if endpoint.by_id:
            error = None  # it shows a failure of before, which was counted then: to show it has succeeded
        elif error is not None:
            outcome = "upstream_error"  # a failure inside a 200
    else:
        error = "client_gone" if gone else (error or f"http_{answer.status}")
    hear = None if text is None or counting is None else lambda: counting.hear(text())
    close(entry, answer, endpoint, outcome, error, told, complete=True, hear=hear)


def _is_whole(answer: Answer, body: bytes) -> bool:
    """Whether an answer whose length is in doubt can be all that was meant: of JSON, a part is none."""
    if not body or "json" not in answer.headers.get("content-type", ""):
        return True
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return True


def _translated(answer: Answer, translation: Translation, body: bytes) -> bytes:
    """Give a translated answer. Raises UpstreamFailed if it is none."""
    try:
        return translation.answer(body, answer.status, model=answer.ready.model, created=int(time.time()))
    except ValueError:
        answer.abort()
        raise UpstreamFailed(
            "The model's upstream did not answer as its adapter speaks.", code="upstream_bad_answer"
        ) from None  # fmt: skip


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
