"""Eighth stage: send the call to its upstream and wait for the head of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from llm_one_api.errors import GatewayError, UpstreamFailed
from llm_one_api.gateway.answer import Answer, Turn, ended_by
from llm_one_api.gateway.http import BadAnswer, Connection, ConnectionEnded
from llm_one_api.gateway.pool import Pool, Pools
from llm_one_api.gateway.prepare import Outgoing
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.upload import Upload
from llm_one_api.gateway.upstreams.faults import unanswered
from llm_one_api.gateway.watch import Cut, Visit
from llm_one_api.targets import Upstream
from llm_one_api.values import Attempt

_REFUSING = frozenset({400, 422})


class Forward:
    """Sends calls to upstreams, over connections that are kept."""

    def __init__(self, pools: Pools, on_refusal: Callable[[Outgoing], None] = lambda _: None) -> None:
        """Take connections from *pools*. *on_refusal* is told of an upstream that refuses `stream_options`."""
        self._pools = pools
        self._on_refusal = on_refusal

    def __call__(self, ready: Outgoing, started: float, visit: Visit, entry: Entry, turn: Turn) -> Answer:
        """Give the upstream's answer as soon as its head is there. Raises a GatewayError; each try is on *entry*.

        *started* is when the call came: it has no more time at its second upstream than at its first. *turn* is told
        what becomes of the answer. An upstream that refuses `stream_options` is asked once more, without.
        """
        turn.asked()
        visit.total_deadline = min(visit.total_deadline, started + ready.upstream.total_timeout)
        answer = self._send(ready, ready.body, visit, entry, turn)
        if ready.hides_usage and answer.status in _REFUSING and _refuses_asking(answer, visit):
            answer.connection.close()
            ready.hides_usage = False
            answer = self._send(ready, ready.unasked(), visit, entry, turn)
            if answer.status < 400:  # noqa: PLR2004
                # Else it may have been something of the caller's own, which holds for no other call.
                self._on_refusal(ready)
        return answer

    def _send(self, ready: Outgoing, body: bytes, visit: Visit, entry: Entry, turn: Turn) -> Answer:
        upstream = ready.upstream
        pool = self._pools.of(upstream)
        # A form passes once: it is not entrusted to a connection that may turn out to be stale.
        connection = pool.take_idle() if ready.upload is None else None
        if connection is not None:
            answer = self._try(connection, pool, ready, body, visit, entry, turn)
            if answer is not None:
                return answer
        started = time.monotonic()
        visit.wait("connect", upstream.connect_timeout)
        try:
            connection = pool.connect(upstream.connect_timeout)
        except Cut as cut:
            raise self._failed(entry, upstream, started, ended_by(cut.why)) from None
        except GatewayError as error:
            raise self._failed(entry, upstream, started, error) from None
        finally:
            visit.go_on()
        answer = self._try(connection, pool, ready, body, visit, entry, turn)
        if answer is None:
            raise UpstreamFailed("The model's upstream closed the connection.")  # a fresh connection is never stale
        return answer

    def _try(
        self,
        connection: Connection,
        pool: Pool,
        ready: Outgoing,
        body: bytes,
        visit: Visit,
        entry: Entry,
        turn: Turn,
    ) -> Answer | None:
        """Send the call over *connection*; None: it was a kept one and ended without a byte, so a fresh one may try."""
        upstream = ready.upstream
        started = time.monotonic()
        try:
            if ready.upload is not None:
                self._pass_on(connection, ready.head, ready.upload, visit, upstream)
            visit.wait("first_byte", upstream.first_byte_timeout)
            if ready.upload is None:
                with suppress(OSError):  # an upstream that refuses a large body may answer and hang up while we send it
                    connection.send(
                        b"%b%b\r\n" % (ready.head, b"Content-Length: %d\r\n" % len(body) if ready.has_body else b""),
                        body,
                    )
            connection.read_head()
        except Cut as cut:
            connection.close()
            raise self._failed(entry, upstream, started, ended_by(cut.why)) from None
        except (OSError, ConnectionEnded) as ended:
            connection.close()
            if connection.reused and not connection.received:
                self._note(entry, upstream, started, error="stale_connection")
                return None
            raise self._failed(entry, upstream, started, unanswered(ended)) from None
        except BadAnswer:
            connection.close()
            error = UpstreamFailed("The model's upstream did not answer in valid HTTP.", code="upstream_bad_answer")
            raise self._failed(entry, upstream, started, error) from None
        except GatewayError as error:  # of the rest of a form
            connection.close()
            raise self._failed(entry, upstream, started, error) from None
        except BaseException:
            connection.close()
            raise
        finally:
            visit.go_on()
        self._note(entry, upstream, started, status=connection.status)
        answer = Answer(connection, pool, ready, turn)
        entry.provider_request_id = answer.provider_request_id
        return answer

    @staticmethod
    def _pass_on(connection: Connection, head: bytes, upload: Upload, visit: Visit, upstream: Upstream) -> None:
        """Send a form as it comes. Raises Cut, or a GatewayError if the caller does not send the rest of it."""
        length = upload.length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length

        def pieces() -> Iterator[bytes]:
            for piece in upload.pieces():
                visit.wait("first_byte", upstream.first_byte_timeout)  # now it is the upstream that has to take it
                yield piece

        try:
            with suppress(OSError):  # as above: what it answered is worth a look
                connection.send_pieces(head + framing + b"\r\n\r\n", pieces(), chunked=length is None)
        finally:
            upload.close()

    def _failed(self, entry: Entry, upstream: Upstream, started: float, error: GatewayError) -> GatewayError:
        self._note(entry, upstream, started, error=error.code)
        return error

    def _note(
        self, entry: Entry, upstream: Upstream, started: float, *, status: int | None = None, error: str | None = None
    ) -> None:
        duration = round(time.monotonic() - started, 6)
        entry.attempts.append(Attempt(upstream=upstream.name, status=status, error=error, duration=duration))


def _refuses_asking(answer: Answer, visit: Visit) -> bool:
    """Tell whether an error is about our asking for usage."""
    said = answer.refusal(visit)
    return b"stream_options" in said or b"include_usage" in said
