"""An upstream's answer: its head, and its body as it comes; and how waiting for it may end."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Protocol

from llm_one_api.errors import GatewayError, Overloaded, UpstreamTimeout
from llm_one_api.gateway.http import BadAnswer, Connection, ConnectionEnded
from llm_one_api.gateway.pool import Pool
from llm_one_api.gateway.prepare import Outgoing
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.watch import Cut, Visit, Why

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
_LONGEST_REFUSAL = 64 * 1024
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ClientLeft(GatewayError):
    """The caller left before there was an answer: nobody will read this one."""

    status, code, type = 499, "client_gone", "invalid_request_error"


class Turn(Protocol):
    """What an answer needs of its call's turn at the upstream (`gateway/upstreams/turn.py`)."""

    def asked(self) -> None:
        """Note that the upstream is called now."""

    def first_byte(self, status: int, now: float) -> None:
        """Note that the answer's body has begun, at *now* (`time.monotonic()`)."""

    def failed(self, why: str) -> None:
        """Note that it gave no usable answer, or broke off: *why* is a code."""

    def over(self) -> None:
        """Note that the upstream has this call no longer. May be said twice."""


class Uncounted:
    """A turn that tells nobody."""

    def asked(self) -> None:
        """Tell nobody."""

    def first_byte(self, status: int, now: float) -> None:
        """Tell nobody."""

    def failed(self, why: str) -> None:
        """Tell nobody."""

    def over(self) -> None:
        """Tell nobody."""


UNCOUNTED = Uncounted()


class Answer:
    """An upstream's answer: its head, and its body as it comes."""

    __slots__ = (
        "_over", "_pool", "connection", "headers", "provider_request_id", "read", "ready", "status", "turn",
        "upstream",
    )  # fmt: skip

    def __init__(self, connection: Connection, pool: Pool, ready: Outgoing, turn: Turn) -> None:
        self.connection = connection
        self.turn = turn
        """Is told what becomes of the answer."""
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

    def begins(self, entry: Entry) -> None:
        """Note that the first byte of the body is there."""
        entry.first_byte_at = now = time.monotonic()
        self.turn.first_byte(self.status, now)

    def refusal(self, visit: Visit) -> bytes:
        """Read what an error says, as far as it is not endless; who asks later reads it again.

        Raises what ends a call that waits: a GatewayError.
        """
        visit.wait("idle", self.upstream.idle_timeout)
        pieces: list[bytes] = []
        try:
            while sum(map(len, pieces)) < _LONGEST_REFUSAL and (piece := self.read()):
                pieces.append(piece)
        except (OSError, ConnectionEnded, BadAnswer):
            pass  # then the meter meets it too
        except Cut as cut:
            self.abort()
            raise ended_by(cut.why) from None
        finally:
            visit.go_on()
        said = b"".join(pieces)
        self.connection.unread(said)
        return said

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
            self.turn.over()

    def abort(self) -> None:
        """Close the connection: the upstream is to stop. Only the first `finish` or `abort` counts."""
        if not self._over:
            self._over = True
            self.connection.close()
            self.turn.over()

    def discard(self) -> None:
        """Have nothing more of it: keep the connection if all of it is there already."""
        if self.complete:
            with suppress(ConnectionEnded, BadAnswer, OSError):
                self.read()
            self.finish()
        else:
            self.abort()


TOTAL = "upstream_timeout_total"
"""Whose call it was when its time was over need not be to blame for that."""


def ended_by(why: Why) -> GatewayError:
    """Word what the watch did."""
    if why == "client_gone":
        return ClientLeft("The client closed the connection.")
    if why == "draining":
        return Overloaded("The gateway is being stopped. Try again.", code="shutting_down", retry_after=1)
    if why == "queue":
        return Overloaded(
            "The model's upstreams have all the calls that they can take. Try again.", code="upstream_busy"
        )
    what = {
        "connect": "could not be connected to in time",
        "first_byte": "did not begin to answer in time",
        "idle": "fell silent for too long",
        "total": "took too long in all",
    }
    return UpstreamTimeout(f"The model's upstream {what.get(why, 'took too long')}.", code=f"upstream_timeout_{why}")
