"""The body of a streamed answer: whole events, as they come, and its record, however it ends."""

from __future__ import annotations

import time
import traceback

import msgspec
import structlog

from llm_one_api.dialects import openai, sse
from llm_one_api.dialects.openai_stream import StreamReader
from llm_one_api.gateway.forward import Answer
from llm_one_api.gateway.http import BadAnswer, ConnectionEnded
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.watch import Cut, Visit, Watch, Why
from llm_one_api.values import Outcome

log = structlog.get_logger()

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
        "_entry",
        "_patience",
        "_reader",
        "_visit",
        "_watch",
        "_why",
    )

    def __init__(self, answer: Answer, entry: Entry, visit: Visit, watch: Watch) -> None:
        """Read nothing yet."""
        self._answer = answer
        self._entry = entry
        self._visit = visit
        self._watch = watch
        self._connection = answer.connection
        self._why: Why = "first_byte"
        """What is waited for now, and for how long."""
        self._patience = answer.upstream.first_byte_timeout
        self._cutter = sse.EventCutter()
        self._reader = StreamReader(hide_usage=answer.hides_usage)
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
                return self._break(
                    "truncated", "upstream_truncated", "The upstream broke off in the middle of the stream."
                )
            if not data:
                return self._end()
            try:
                batch = self._cutter.feed(data)
                if not batch:
                    continue
                out = self._reader.feed(batch, self._cutter.on_boundary)
            except Exception as error:
                return self._fail(error)
            if visit.client_gone and not self._entry.closed:
                self._drain()
                raise StreamBroken
            if self._reader.done:
                self._close()
            if out:
                visit.wait_caller()
                return out

    def close(self) -> None:
        """Record a stream that nobody reads any more. WSGI calls this at the end, on an error and on a hang-up."""
        visit = self._visit
        visit.go_on()  # it may have been the caller that was waited for
        if not self._entry.closed:
            why = visit.cut_for or "client_gone"
            if why == "client_gone" and self._watch.bounds.on_client_gone == "drain":
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
            self._entry.first_byte_at = time.monotonic()
            self._why, self._patience = "idle", self._answer.upstream.idle_timeout
        return data

    def _drain(self) -> None:
        """Read on without the caller, within bounds, to learn the usage."""
        left = self._watch.bounds.drain_bytes
        self._watch.read_on(self._visit)
        try:
            while left > 0 and not self._reader.done:
                data = self._receive()
                if not data:
                    self._reader.feed(self._cutter.rest)
                    break
                left -= len(data)
                batch = self._cutter.feed(data)
                if batch:
                    self._reader.feed(batch, self._cutter.on_boundary)
        except (Cut, OSError, ConnectionEnded, BadAnswer):
            pass
        finally:
            self._left("client_gone")

    # -- the ways to end --

    def _end(self) -> bytes:
        """End with the upstream's message."""
        self._let_go()
        if self._entry.closed:
            raise StopIteration
        reader = self._reader
        try:
            rest = reader.feed(self._cutter.rest)
        except Exception as error:
            return self._fail(error)
        if not (reader.done or reader.finish_reason or reader.error):
            # Half an event may be left over: it is dropped, so that ours stands by itself.
            return self._break("truncated", "upstream_truncated", "The upstream ended the stream before its end.")
        if self._visit.client_gone:
            self._left("client_gone")
            raise StreamBroken
        self._close()
        if not rest:
            raise StopIteration
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
        self._close(outcome, code)
        self._answer.abort()
        self._broken = True
        error = {"error": {"message": message, "type": "api_error", "param": None, "code": code}}
        self._visit.wait_caller()
        return (b"" if self._cutter.on_boundary else b"\n\n") + sse.event_of(msgspec.json.encode(error))

    def _fail(self, error: Exception) -> bytes:
        """End where we failed ourselves. What we stumbled over may hold anything, so only the kind of it is told."""
        where = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        log.error("request.failed", kind=type(error).__name__, where=where)
        return self._break("aborted", "internal_error", "The gateway failed. The operator's log says where.")

    def _left(self, error: str) -> None:
        """End without the caller: it left, or does not read, or we stop while it does not."""
        outcome: Outcome = "aborted" if error == "draining" else "client_gone"
        self._close(outcome, error)
        self._answer.abort()

    def _close(self, outcome: Outcome | None = None, error: str | None = None) -> None:
        reader = self._reader
        usage = openai.usage_of(reader.usage_raw)
        self._entry.close(
            outcome or ("stream_error" if reader.error else "success"),
            status=self._answer.status,
            error=error or reader.error,
            usage=usage,
            usage_source=("reported" if reader.done or reader.finish_reason else "partial") if usage else "none",
            usage_raw=reader.usage_raw,
            response_model=reader.model,
            service_tier=reader.service_tier,
            finish_reason=reader.finish_reason,
            provider_request_id=self._answer.provider_request_id,
        )
        self._patience = AFTER_DONE

    def _let_go(self) -> None:
        """Give back the upstream's connection. May be said twice."""
        if self._answer.complete:
            self._answer.finish()
        else:
            self._answer.abort()
