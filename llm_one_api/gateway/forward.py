"""Sixth stage: send the call to its upstream and wait for the head of the answer."""

from __future__ import annotations

import re
import ssl
import time
from contextlib import suppress

from llm_one_api.dialects import openai
from llm_one_api.errors import GatewayError, Overloaded, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.http import BadAnswer, Connection, ConnectionEnded
from llm_one_api.gateway.pool import Origin, Pool
from llm_one_api.gateway.read import Request
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.watch import Cut, Visit, Why
from llm_one_api.values import Attempt, Call, Target, Upstream

_PASSING = frozenset(
    {
        "content-type", "content-encoding", "content-language", "content-disposition", "cache-control",
        "retry-after", "retry-after-ms", "x-should-retry",
    }
)  # fmt: skip
_PASSING_PREFIXES = ("openai-", "x-ratelimit-", "anthropic-", "x-ms-")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ClientLeft(GatewayError):
    """The caller left before there was an answer: nobody will read this one."""

    status, code, type = 499, "client_gone", "invalid_request_error"


class Answer:
    """An upstream's answer: its head, and its body as it comes."""

    __slots__ = (
        "_over", "_pool", "connection", "headers", "hides_usage", "provider_request_id", "read", "status", "upstream",
    )  # fmt: skip

    def __init__(self, connection: Connection, pool: Pool, upstream: Upstream, *, hides_usage: bool) -> None:
        self.connection = connection
        self._pool = pool
        self._over = False
        self.upstream = upstream
        self.read = connection.read
        """Wait for more of the body; b"": that was all. Raises Cut, OSError, ConnectionEnded or BadAnswer."""
        self.status = connection.status
        self.hides_usage = hides_usage
        """Whether we asked for the usage chunk, so that the caller must not see it."""
        self.provider_request_id: str | None = None
        self.headers: dict[str, str] = {}
        """Those that the caller may see; names in lower case."""
        for name, value in connection.headers:
            key = name.decode("latin-1")
            if key in _PASSING or key.startswith(_PASSING_PREFIXES):
                text = value.decode("latin-1")
                if not _UNPRINTABLE.search(text):
                    self.headers[key] = text
            elif key == "x-request-id":
                self.provider_request_id = value.decode("latin-1")[:200]

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

    def __init__(self) -> None:
        """Open nothing yet."""
        self._pools: dict[str, Pool] = {}
        self._heads: dict[tuple[str, str, str], bytes] = {}

    def __call__(
        self, call: Call, endpoint: Endpoint, request: Request, target: Target, visit: Visit, entry: Entry
    ) -> Answer:
        """Give the upstream's answer as soon as its head is there. Raises a GatewayError; each try is on *entry*."""
        upstream = target.upstream
        body, hides_usage = outgoing(endpoint, request, target)
        head = b"%b%bContent-Length: %d\r\n\r\n" % (self._head(upstream, endpoint), _headers(call), len(body))
        pool = self._pool(upstream)
        visit.total_deadline = call.started + upstream.total_timeout
        connection = pool.take_idle()
        if connection is not None:
            answer = self._try(connection, pool, upstream, head, body, visit, entry, hides_usage=hides_usage)
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
        answer = self._try(connection, pool, upstream, head, body, visit, entry, hides_usage=hides_usage)
        if answer is None:
            raise UpstreamFailed("The model's upstream closed the connection.")  # a fresh connection is never stale
        return answer

    def _try(
        self,
        connection: Connection,
        pool: Pool,
        upstream: Upstream,
        head: bytes,
        body: bytes,
        visit: Visit,
        entry: Entry,
        *,
        hides_usage: bool,
    ) -> Answer | None:
        """Send the call over *connection*; None: it was a kept one and ended without a byte, so a fresh one may try."""
        started = time.monotonic()
        visit.wait("first_byte", upstream.first_byte_timeout)
        try:
            with suppress(OSError):  # an upstream that refuses a large body may answer and hang up while we send it
                connection.send(head, body)
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
        except BaseException:
            connection.close()
            raise
        finally:
            visit.go_on()
        self._note(entry, upstream, started, status=connection.status)
        return Answer(connection, pool, upstream, hides_usage=hides_usage)

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

    def _head(self, upstream: Upstream, endpoint: Endpoint) -> bytes:
        """Give the part of the request's head that is the same for each call."""
        known = (upstream.base_url, upstream.authorization, endpoint.upstream_path)
        head = self._heads.get(known)
        if head is None:
            origin = Origin.of(upstream.base_url)
            lines = [
                f"POST {origin.path}{endpoint.upstream_path} HTTP/1.1",
                f"Host: {origin.host_header}",
                "Accept-Encoding: identity",
                "Content-Type: application/json",  # it was read as that, whatever the caller calls it
            ]
            if upstream.authorization:
                lines.append(f"Authorization: {upstream.authorization}")
            head = self._heads[known] = ("\r\n".join(lines) + "\r\n").encode("latin-1")
        return head


def outgoing(endpoint: Endpoint, request: Request, target: Target) -> tuple[bytes, bool]:
    """Give the body to send, and whether we asked for usage on the caller's behalf.

    It is the caller's own, byte for byte, unless a field must change: the model's name upstream, `stream_options`,
    or a field that stands in it twice (so that the upstream reads what we read).
    """
    asked = request.asked
    ask_usage = endpoint.streams and request.stream and not asked.wants_usage
    model = target.upstream_model if target.upstream_model != asked.model else None
    if model is None and request.plain:
        if not ask_usage:
            return request.body, False
        if not bytes(asked.stream_options):
            return openai.with_usage_asked(request.body), True
    return openai.rewrite(request.body, model=model, ask_usage=ask_usage), ask_usage


def _headers(call: Call) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in call.headers]).encode("latin-1")


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
