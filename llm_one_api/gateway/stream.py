"""The body of a streamed answer: whole events, as they come, and its record, however it ends."""

from __future__ import annotations

import time
import traceback

import structlog

from llm_one_api.dialects import sse
from llm_one_api.dialects.adapters import StreamTranslation
from llm_one_api.dialects.dialect import Failure
from llm_one_api.gateway.answer import Answer
from llm_one_api.gateway.closing import close
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.hearing import Hearing
from llm_one_api.gateway.http import BadAnswer, ConnectionEnded
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.watch import Cut, Visit, Watch, Why
from llm_one_api.values import Outcome

log = structlog.get_logger()

LONGEST_TRANSLATED = 8 * 1024 * 1024
"""Bytes of an event that is held until it is complete, where it has to be translated."""
AFTER_DONE = 1.0
"""Seconds that an upstream has to end its message after `[DONE]`; nothing that counts comes in them."""


class Stream:
    """Passes a stream on and reports how it ended, once.

    A class and not a generator: WSGI promises to call `close`, but a generator that is closed before its first `next`
    never runs its `finally`, and that call would go unrecorded.
    """

    __slots__ = (
        "_answer",
        "_begun",
        "_broken",
        "_connection",
        "_cutter",
        "_endpoint",
        "_entry",
        "_hearing",
        "_keep",
        "_patience",
        "_reader",
        "_translation",
        "_visit",
        "_watch",
        "_why",
    )

    def __init__(self, answer: Answer, endpoint: Endpoint, entry: Entry, visit: Visit, watch: Watch) -> None:
        """Read nothing yet."""
        ready = answer.ready
        self._answer = answer
        self._endpoint = endpoint
        self._entry = entry
        self._visit = visit
        self._watch = watch
        self._connection = answer.connection
        begun = entry.first_byte_at is not None  # it was waited for already
        self._why: Why = "idle" if begun else "first_byte"
        """What is waited for now, and for how long."""
        self._patience = answer.upstream.idle_timeout if begun else answer.upstream.first_byte_timeout
        self._cutter = sse.EventCutter()
        self._reader = ready.dialect.reader(hide_usage=ready.hides_usage)
        self._translation: StreamTranslation | None = None
        if ready.translation is not None:
            self._cutter = sse.EventCutter(LONGEST_TRANSLATED)
            self._translation = ready.translation.stream(
                model=ready.model, created=int(time.time()), include_usage=ready.include_usage
            )
        counting = entry.counting if endpoint.counts_output else None
        self._hearing = None if counting is None else Hearing(counting, self._reader)
        self._keep = None if self._hearing is None else self._hearing.keep
        self._begun = False
        self._broken = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        """Give all complete events that have arrived, waiting for the first; at the very first, b"" rather than wait.

        So the caller gets the head of the answer when we have it, and not only with the first token.
        """
        if self._broken:
            raise StreamBroken
        visit = self._visit
        if not self._begun:
            self._begun = True
            if not self._answer.has_body:
                return b""
        while True:
            try:
                data = self._receive()
            except Cut as cut:
                return self._cut(cut.why)
            except (OSError, ConnectionEnded, BadAnswer):
                return self._break("truncated", "upstream_truncated", "The upstream broke off within the stream.")
            if not data:
                return self._end()
            if visit.client_gone and not self._entry.closed:
                self._drain(data)
                raise StreamBroken
            try:
                batch = self._cutter.feed(data)
                if not batch:
                    continue
                # `_take`, but shorter: for most events this is all that is done.
                whole = self._cutter.on_boundary
                out = self._reader.feed(batch, whole)
                if self._keep is not None:
                    self._keep(batch, whole)
                if self._translation is not None:
                    out = self._translation.feed(out, whole)
            except Exception as error:
                return self._fail(error)
            if self._reader.done and not self._entry.closed:
                self._close()
                out += self._raising()
            if out:
                visit.wait_caller()
                return out

    def close(self) -> None:
        """Record a stream that nobody reads any more. WSGI calls this at the end, on an error and on a hang-up."""
        visit = self._visit
        visit.go_on()  # it may have been the caller that was waited for
        if not self._entry.closed:
            why = visit.cut_for or "client_gone"
            if why == "client_gone" and visit.drains:
                self._drain()
            else:
                self._left(why)
        self._let_go()
        self._watch.leave(visit)

    # -- reading --

    def _receive(self) -> bytes:
        """Wait for what comes next; b"": that was all. Raises Cut, OSError, ConnectionEnded or BadAnswer."""
        visit = self._visit
        if not self._connection.complete:
            visit.listen(self._why, self._patience)
        try:
            data = self._connection.read()
        except BaseException:
            self._answer.abort()
            raise
        finally:
            visit.state = ""
        if self._why == "first_byte":
            self._answer.begins(self._entry)
            self._why, self._patience = "idle", self._answer.upstream.idle_timeout
        return data

    def _drain(self, data: bytes = b"") -> None:
        """Read on without the caller, from *data* on, within bounds, to learn the usage."""
        was_told = self._reader.error is not None
        left = self._watch.bounds.drain_bytes
        self._watch.read_on(self._visit)
        try:
            while (data or left > 0) and not self._reader.done:
                data = data or self._receive()
                if not data:
                    self._take(self._cutter.rest)
                    break
                left -= len(data)
                batch, data = self._cutter.feed(data), b""
                if batch:
                    self._take(batch, self._cutter.on_boundary)
        except (Cut, OSError, ConnectionEnded, BadAnswer):
            pass
        finally:
            self._left("client_gone", was_told)

    def _take(self, batch: bytes, whole: bool = True) -> bytes:
        """Read a batch by the way; give what the caller is to get of it."""
        out = self._reader.feed(batch, whole)
        if self._keep is not None:
            self._keep(batch, whole)
        return out if self._translation is None else self._translation.feed(out, whole)

    # -- the ways to end --

    def _end(self) -> bytes:
        """End with the upstream's message."""
        self._let_go()
        if self._entry.closed:
            if self._reader.error is not None and not self._reader.told_by_end:
                raise StreamBroken  # a failure does not end cleanly
            raise StopIteration
        reader = self._reader
        was_told = reader.error is not None
        try:
            rest = self._take(self._cutter.rest)
        except Exception as error:
            return self._fail(error)
        if not reader.at_end:
            # Half an event may be left over: it is dropped, so that ours stands by itself.
            return self._break("truncated", "upstream_truncated", "The upstream ended the stream before its end.")
        if self._visit.client_gone:
            self._left("client_gone", was_told)
            raise StreamBroken
        self._close()
        rest += self._raising()
        if not rest:
            raise StreamBroken if self._broken else StopIteration
        self._visit.wait_caller()
        return rest

    def _cut(self, why: Why) -> bytes:
        """End as the watch says."""
        if self._entry.closed:  # all that counts was handed on; only the end of the message is missing
            raise StopIteration
        if why == "client_gone":
            self._left(why)
            raise StreamBroken
        if why == "draining":
            return self._break("aborted", "shutting_down", "The gateway is being stopped.")
        return self._break("timeout", f"upstream_timeout_{why}", "The upstream took too long.")

    def _break(self, outcome: Outcome, code: str, message: str) -> bytes:
        """End the stream with an error event, which starts where an event ended; then the connection is aborted."""
        if self._entry.closed:
            raise StopIteration
        if self._visit.client_gone:
            self._left("client_gone")
            raise StreamBroken
        if self._reader.error is not None:  # it has said itself why
            self._close()
            self._answer.abort()
            raise StreamBroken
        self._close(outcome, code)
        self._answer.abort()
        self._broken = True
        self._visit.wait_caller()
        return self._error_event(message, code)

    def _error_event(self, message: str, code: str) -> bytes:
        """Word an error as the caller's dialect does; it starts where an event ended."""
        failure = Failure(status=502, message=message, type="api_error", code=code)
        return (b"" if self._cutter.on_boundary else b"\n\n") + self._endpoint.dialect.error_event(failure)

    def _raising(self) -> bytes:
        """After an error of the upstream's: have the caller's SDK raise, and the connection aborted."""
        reader = self._reader
        if reader.error is None or reader.told_by_end:
            return b""
        self._broken = True
        if reader.error_raises:
            return b""
        return self._error_event("The upstream reported an error in the middle of the stream.", reader.error)

    def _fail(self, error: Exception) -> bytes:
        """End where we failed ourselves. What we stumbled over may hold anything, so only the kind of it is told."""
        where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        log.error("request.failed", kind=type(error).__name__, where=where)
        return self._break("aborted", "internal_error", "The gateway failed. The operator's log says where.")

    def _left(self, error: str, was_told: bool = True) -> None:
        """End without the caller: it left, or does not read, or we stop while it does not.

        If it *was_told* before of an error of the upstream's, that is why it left: SDKs hang up at once.
        """
        if was_told and self._reader.error is not None:
            self._close()
        else:
            self._close("aborted" if error == "draining" else "client_gone", error)
        self._answer.abort()

    def _close(self, outcome: Outcome | None = None, error: str | None = None) -> None:
        reader = self._reader
        # To show a response that failed is no failure of its own.
        shows = reader.told_by_end and not self._endpoint.metered
        complete = reader.done or (reader.finish_reason is not None and reader.error is None)
        close(
            self._entry,
            self._answer,
            self._endpoint,
            outcome or ("stream_error" if reader.error and not shows else "success"),
            error or reader.error,
            reader.told(),
            complete=complete,
            hear=None if self._hearing is None else self._hearing.hand_on,
        )
        self._patience = AFTER_DONE

    def _let_go(self) -> None:
        """Give back the upstream's connection. May be said twice."""
        if self._answer.complete:
            self._answer.finish()
        else:
            self._answer.abort()
