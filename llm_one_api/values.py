"""What travels: frozen values, named in the domain's words.

Money is `Decimal`, time is aware UTC, tokens are `int`. Unknown is `None`, never zero.

They are msgspec structs, not dataclasses, because each call makes several of them and each record is
encoded to the journal and to a Celery message: a record is built in 0.9 µs
(as a frozen dataclass: 4.9 µs) and is its own codec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

Outcome = Literal[
    "success",
    "client_error",
    "upstream_error",
    "timeout",
    "truncated",
    "stream_error",
    "client_gone",
    "rejected",
    "aborted",
]
"""How a call ended; `docs/how-a-request-travels.md` has the list with its meanings."""

UsageSource = Literal["reported", "estimated", "partial", "none"]
"""Where the token figures come from.

`estimated`: counted by us, for the upstream told none. `partial`: the answer was cut, and these are what had been seen
of it. `none`: nothing is known, the figures are None.
"""

PriceSource = Literal["configured", "reported", "genai-prices"]
"""Where a cost comes from: the section `pricing`, the provider's own figure, or the table of that library."""

OnClientGone = Literal["cut", "drain"]
"""A caller left: `cut` closes the upstream at once, `drain` reads on to learn the usage."""

FAILED: frozenset[Outcome] = frozenset({"upstream_error", "timeout", "truncated", "stream_error", "aborted"})
"""The outcomes that count as errors. Error rate = these / (these + success)."""


NO_MODEL = "-"
"""The model of a call that was refused before its model was known, or that names none."""


def fingerprint(api_key: str) -> str:
    """Name a key without telling it, such as `key_3f9a1c22`. Takes any text, also one that no key can be."""
    return "key_" + hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all values: immutable, keyword-only, compared by content."""


class Caller(Value, frozen=True, kw_only=True):
    """Who calls, as far as the gateway goes on knowing it: never the key itself."""

    key: str
    """The key's fingerprint, such as `key_3f9a1c22`."""
    user: str
    """The configured name of the key, else its fingerprint."""
    group: str | None = None
    models: frozenset[str] | None = None
    """The models that the key may use; None: all."""
    admin: bool = False
    on_client_gone: OnClientGone | None = None
    """What this caller's leaving means; None: what `server.on_client_gone` says."""

    def may_use(self, model: str) -> bool:
        """Tell whether this caller may use *model* (its public name)."""
        return self.models is None or model in self.models


Peer = tuple[str, str]
"""Where a request comes from: the address of its connection, and what its `X-Forwarded-For` says."""
NOWHERE: Peer = ("", "")


class Body(Protocol):
    """What a request brings. All raise a GatewayError if it is too large, truncated or does not come."""

    length: int | None
    """Bytes; None: it is not told."""
    content_type: str

    def check(self) -> None:
        """See whether there may be one, by the head alone."""

    def whole(self) -> bytes:
        """Read all of it, once."""

    def piece(self) -> bytes:
        """Read some more of it; b"": that was all."""


class Call(Value, frozen=True, kw_only=True):
    """One request as it stands at the door: its head; the body is read when the caller is known."""

    id: str
    started: float
    """`time.monotonic()` at arrival."""
    endpoint: str
    api_key: str
    """A secret: never printed. Empty: none was given."""
    method: str = "POST"
    path: str
    query: str = ""
    body: Body
    headers: tuple[tuple[str, str], ...] = ()
    """Those that may go upstream."""
    client_request_id: str | None = None
    sdk_retry_count: int | None = None
    """How often the caller's SDK had tried before, as its `x-stainless-retry-count` says."""
    tags: tuple[str, ...] = ()
    peer: Peer = NOWHERE
    client_fd: int = -1
    """The caller's socket, to see when the caller leaves; -1: unknown."""

    def __repr__(self) -> str:
        """Name it without its key."""
        return f"Call({self.id!r}, {self.endpoint!r})"

    __str__ = __repr__


class Permit(Value, frozen=True, kw_only=True):
    """What `admit` reserved for a call. Empty where no limit applies.

    The windows are named here once, and nothing computes them again: a call over midnight is charged where it was
    admitted.
    """

    windows: tuple[str, ...] = ()
    """The quota windows that the call is charged to, such as `user:alice:day:2026-11-24` (`limits/windows.py`)."""
    tokens: int = 0
    """Reserved: the input's estimate and the most that may be put out."""
    input_tokens: int = 0
    """The input's estimate: what is charged if nothing else is ever known."""
    nanos: int = 0
    """Reserved, in 1e-9 USD, rounded up; 0: no cost is limited, or no price is known."""


class Standing(Value, frozen=True, kw_only=True):
    """How the minute of a caller stands: each the limit, what remains, and the ms until all of it is free again.

    Empty or None: it is not limited.
    """

    requests: Sequence[int] | None = None
    tokens: Sequence[int] | None = None


class Usage(Value, frozen=True, kw_only=True):
    """Tokens of one call. Input includes cached, output includes reasoning; the parts are kept as parts.

    None: not told. `faults_of` in `dialects/usage.py` says what must hold between the figures.
    """

    prompt_tokens: int | None = None
    """The whole input, with what was read from and written to a cache."""
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_tokens: int | None = None
    """Of the input."""
    image_output_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    audio_seconds: float | None = None
    images: int | None = None


NO_USAGE = Usage()
"""Nothing is known."""


class Attempt(Value, frozen=True, kw_only=True):
    """One try at an upstream, of which a call may need several."""

    upstream: str
    status: int | None = None
    """None: no status line arrived."""
    error: str | None = None
    duration: float = 0.0
    """Seconds, to the end of the headers or to the failure."""


class UsageRecord(Value, frozen=True, kw_only=True):
    """One call, as it is kept. The same shape in the journal, in a Celery message and in the ledger."""

    request_id: str
    """UUIDv7, also the answer's `x-request-id`."""
    at: datetime
    """When the call was admitted, aware UTC: decides its day, rollup and quota window."""
    model: str
    """As the caller named it, if it is configured; else what was asked for, cut to 200 characters."""
    upstream_model: str | None = None
    response_model: str | None = None
    """What the upstream says that answered."""
    service_tier: str | None = None
    user: str
    key: str
    group: str | None = None
    end_user: str | None = None
    """The body's `user`."""
    tags: tuple[str, ...] = ()
    client_request_id: str | None = None
    """The caller's own `x-request-id`, cleaned."""
    endpoint: str
    """`chat`, `completions`, `embeddings`, …: the name of a row in `gateway/endpoints.py`."""
    stream: bool = False
    outcome: Outcome
    status: int | None = None
    """The HTTP status the caller was given; None: none was (aborted)."""
    error: str | None = None
    """A code of ours, such as `upstream_timeout`, or the upstream's error code. Never a message."""
    finish_reason: str | None = None
    provider_request_id: str | None = None
    upstream: str | None = None
    """None: no upstream was called."""
    attempts: tuple[Attempt, ...] = ()
    duration: float | None = None
    """Seconds from the request's arrival to the last byte from upstream; None: unknown (aborted)."""
    ttft: float | None = None
    """Seconds from the request's arrival to the first byte of the answer's body."""
    usage: Usage = NO_USAGE
    usage_source: UsageSource = "none"
    usage_raw: Mapping[str, Any] | None = None
    """The provider's own usage object, as it came."""
    usage_faults: tuple[str, ...] = ()
    """What cannot be true of the figures, such as `cache_read_tokens > prompt_tokens`. They are kept as they came."""
    output_tokens_per_second: float | None = None
    """While it was generated: of a stream from its first byte, else from the request's arrival."""
    sdk_retry_count: int | None = None
    """How often the caller's SDK had tried before (`x-stainless-retry-count`); None: it does not say."""
    cost: Decimal | None = None
    """USD. None: no price is known. Zero: known to be free."""
    price_source: PriceSource | None = None
    """Where the cost comes from; None: there is none."""
    price_date: date | None = None
    """The day from which that price holds, where its source says one; else the call's day."""
    quota_windows: tuple[str, ...] = ()
    """The quota windows that this is charged to: those of the permit. Empty: to none."""
    quota_tokens: int | None = None
    quota_cost: Decimal | None = None
