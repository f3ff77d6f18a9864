"""Seventh stage: send the call to its upstream and wait for the head of the answer."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from llm_one_api.errors import GatewayError, Overloaded, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.http import BadAnswer, Connection, ConnectionEnded
from llm_one_api.gateway.pool import Origin, Pool
from llm_one_api.gateway.prepare import Outgoing
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.upload import Upload
from llm_one_api.gateway.watch import Cut, Visit, Why
from llm_one_api.targets import Upstream
from llm_one_api.values import Attempt

_PASSING = frozenset(
    {
        "content-type", "content-encoding", "content-language", "content-disposition", "cache-control",
        "retry-after", "retry-after-ms", "x-should-retry",
    }
)  # fmt: skip
_STAYING = frozenset({"openai-organization", "openai-project", "anthropic-organization-id"})
"""What an upstream says of the account that its key belongs to: that is the operator's, and not the caller's."""
_PASSING_PREFIXES = ("openai-", "x-ratelimit-", "anthropic-", "x-ms-")
_IDS = frozenset({"x-request-id", "request-id", "apim-request-id"})
"""Where providers tell their own id of a call."""
_REFUSING = frozenset({400, 422})
_LONGEST_REFUSAL = 64 * 1024
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ClientLeft(GatewayError):
    """The caller left before there was an answer: nobody will read this one."""

    status, code, type = 499, "client_gone", "invalid_request_error"


class Answer:
    """An upstream's answer: its head, and its body as it comes."""

    __slots__ = (
        "_over", "_pool", "connection", "headers", "provider_request_id", "read", "ready", "status", "upstream",
    )  # fmt: skip

    def __init__(self, connection: Connection, pool: Pool, ready: Outgoing) -> None:
        self.connection = connection
        self._pool = pool
        self._over = False
        self.ready = ready
        """What it answers."""
        self.upstream = ready.upstream
        self.read = connection.read
        """Wait for more of the body; b"": that was all. Raises Cut, OSError, ConnectionEnded or BadAnswer."""
        self.status = connection.status
        self.provider_request_id: str | None = None
        self.headers: dict[str, str] = {}
        """Those that the caller may see; names in lower case."""
        for name, value in connection.headers:
            key = name.decode("latin-1")
            if key in _PASSING or (key.startswith(_PASSING_PREFIXES) and key not in _STAYING):
                text = value.decode("latin-1")
                if not _UNPRINTABLE.search(text):
                    self.headers[key] = text
            elif key in _IDS:
                self.provider_request_id = value.decode("latin-1")[:200]

    def put_back(self, pieces: list[bytes]) -> None:
        """Have what was read before its time read again, first."""
        waiting, read = [b"".join(pieces)] if pieces else [], self.connection.read
        self.read = lambda: waiting.pop() if waiting else read()

    @property
    def complete(self) -> bool:
        """Whether the body's last byte has arrived (pieces may still have to be read)."""
        return self.connection.complete

    @property
    def has_body(self) -> bool:
        """Whether `read` has something at once."""
        return self.connection.has_body

    def finish(self) -> None:
        """Keep the connection for the next call, if it can be kept. Only the first `finish` or `abort` counts."""
        if not self._over:
            self._over = True
            self._pool.give_back(self.connection)

    def abort(self) -> None:
        """Close the connection: the upstream is to stop. Only the first `finish` or `abort` counts."""
        if not self._over:
            self._over = True
            self.connection.close()


class Forward:
    """Sends calls to upstreams, over connections that are kept."""

    def __init__(self, on_refusal: Callable[[Outgoing], None] = lambda _: None) -> None:
        """Open nothing yet. *on_refusal* is told of an upstream that refuses `stream_options`."""
        self._pools: dict[str, Pool] = {}
        self._on_refusal = on_refusal

    def __call__(self, ready: Outgoing, started: float, visit: Visit, entry: Entry) -> Answer:
        """Give the upstream's answer as soon as its head is there. Raises a GatewayError; each try is on *entry*.

        *started* is when the call came. An upstream that refuses `stream_options` is asked once more, without.
        """
        visit.total_deadline = started + ready.upstream.total_timeout
        answer = self._send(ready, ready.body, visit, entry)
        if ready.hides_usage and answer.status in _REFUSING and self._refuses_asking(answer, visit):
            answer.abort()
            ready.hides_usage = False
            answer = self._send(ready, ready.unasked(), visit, entry)
            if answer.status < 400:  # noqa: PLR2004
                # Else it may have been something of the caller's own, which holds for no other call.
                self._on_refusal(ready)
        return answer

    def _send(self, ready: Outgoing, body: bytes, visit: Visit, entry: Entry) -> Answer:
        upstream = ready.upstream
        pool = self._pool(upstream)
        # A form passes once: it is not entrusted to a connection that may turn out to be stale.
        connection = pool.take_idle() if ready.upload is None else None
        if connection is not None:
            answer = self._try(connection, pool, ready, body, visit, entry)
            if answer is not None:
                return answer
        started = time.monotonic()
        visit.wait("connect", upstream.connect_timeout)
        try:
            connection = pool.connect(upstream.connect_timeout)
        except Cut as cut:
            raise self._failed(entry, upstream, started, ended_by(cut.why)) from None
        except TimeoutError:
            raise self._failed(entry, upstream, started, ended_by("connect")) from None
        except ssl.SSLError:
            error = UpstreamFailed("The model's upstream could not be trusted: TLS failed.", code="upstream_tls")
            raise self._failed(entry, upstream, started, error) from None
        except OSError:
            error = UpstreamFailed("The model's upstream cannot be reached.", code="upstream_unreachable")
            raise self._failed(entry, upstream, started, error) from None
        finally:
            visit.go_on()
        answer = self._try(connection, pool, ready, body, visit, entry)
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
        except (OSError, ConnectionEnded):
            connection.close()
            if connection.reused and not connection.received:
                self._note(entry, upstream, started, error="stale_connection")
                return None
            error = UpstreamFailed(
                "The model's upstream closed the connection without an answer.", code="upstream_closed"
            )
            raise self._failed(entry, upstream, started, error) from None
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
        answer = Answer(connection, pool, ready)
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

    def _refuses_asking(self, answer: Answer, visit: Visit) -> bool:
        """Tell whether an error is about our asking for usage. What was read of it is read again by whoever asks."""
        visit.wait("idle", answer.upstream.idle_timeout)
        pieces: list[bytes] = []
        try:
            while sum(map(len, pieces)) < _LONGEST_REFUSAL and (piece := answer.read()):
                pieces.append(piece)
        except (OSError, ConnectionEnded, BadAnswer):
            pass  # then the meter meets it too
        except Cut as cut:
            answer.abort()
            raise ended_by(cut.why) from None
        finally:
            visit.go_on()
        answer.put_back(pieces)
        said = b"".join(pieces)
        return b"stream_options" in said or b"include_usage" in said

    def close_idle(self) -> None:
        """Close the connections that were not used for long. To be called every few seconds."""
        for pool in self._pools.values():
            pool.close_idle()

    def _failed(self, entry: Entry, upstream: Upstream, started: float, error: GatewayError) -> GatewayError:
        self._note(entry, upstream, started, error=error.code)
        return error

    def _note(
        self, entry: Entry, upstream: Upstream, started: float, *, status: int | None = None, error: str | None = None
    ) -> None:
        duration = round(time.monotonic() - started, 6)
        entry.attempts.append(Attempt(upstream=upstream.name, status=status, error=error, duration=duration))

    def _pool(self, upstream: Upstream) -> Pool:
        pool = self._pools.get(upstream.base_url)
        if pool is None:
            pool = self._pools[upstream.base_url] = Pool(Origin.of(upstream.base_url))
        return pool


def ended_by(why: Why) -> GatewayError:
    """Word what the watch did."""
    if why == "client_gone":
        return ClientLeft("The client closed the connection.")
    if why == "draining":
        return Overloaded("The gateway is being stopped. Try again.", code="shutting_down", retry_after=1)
    what = {
        "connect": "could not be connected to in time",
        "first_byte": "did not begin to answer in time",
        "idle": "fell silent for too long",
        "total": "took too long in all",
    }
    return UpstreamTimeout(f"The model's upstream {what.get(why, 'took too long')}.", code=f"upstream_timeout_{why}")
