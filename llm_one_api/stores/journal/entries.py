"""What stands in the journal: one OPEN before the upstream is called, one CLOSE when its last byte was read.

Where the tokens have to be counted first, an ENDED comes in between: the call is over, and its caller may see the end.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from llm_one_api.stores.journal.framing import MAX_PAYLOAD, frame
from llm_one_api.values import Attempt, Caller, Permit, UsageRecord, Value


class Opened(Value, frozen=True, kw_only=True, tag="open"):
    """A call that was admitted and is about to be sent upstream."""

    request_id: str
    at: datetime
    caller: Caller
    permit: Permit = Permit()
    model: str
    upstream_model: str | None = None
    upstream: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] = ()
    client_request_id: str | None = None
    endpoint: str
    stream: bool = False
    sdk_retry_count: int | None = None

    def left(self) -> UsageRecord:
        """Make the record of a call whose process ended before it could tell how it went."""
        return UsageRecord(
            request_id=self.request_id,
            at=self.at,
            model=self.model,
            upstream_model=self.upstream_model,
            user=self.caller.user,
            key=self.caller.key,
            group=self.caller.group,
            end_user=self.end_user,
            tags=self.tags,
            client_request_id=self.client_request_id,
            endpoint=self.endpoint,
            stream=self.stream,
            sdk_retry_count=self.sdk_retry_count,
            outcome="aborted",
            error="gateway_died",
            upstream=self.upstream,
            attempts=(Attempt(upstream=self.upstream),) if self.upstream else (),
        )


class Ended(Value, frozen=True, kw_only=True, tag="ended"):
    """A call that ended and whose tokens are being counted; a CLOSE with the figures follows."""

    record: UsageRecord

    def left(self) -> UsageRecord:
        """Give the record of a call whose process ended before the tokens were counted: all but those is known."""
        return self.record


class Closed(Value, frozen=True, kw_only=True, tag="close"):
    """A call that ended, with all that its record needs."""

    record: UsageRecord


class Carried(Value, frozen=True, kw_only=True, tag="carried"):
    """The start of a segment ends here: above it stand copies of the calls that were open when it was made."""

    calls: int


Entry = Opened | Ended | Closed | Carried

encode = msgspec.msgpack.Encoder().encode
"""An entry's payload."""

_decoder = msgspec.msgpack.Decoder(Entry)


def decode(payload: bytes) -> Entry:
    """Read a payload. Raises msgspec.ValidationError or msgspec.DecodeError if it is none."""
    entry: Entry = _decoder.decode(payload)
    return entry


def framed(entry: Entry) -> bytes:
    """Make the bytes to append for *entry*, mending what cannot be written, so that no record is lost for it."""
    try:
        payload = encode(entry)
    except (UnicodeEncodeError, OverflowError, TypeError):
        payload = encode(_mended(entry))
    if len(payload) > MAX_PAYLOAD:
        payload = encode(_mended(entry))
    return frame(payload)


_LONGEST_STRING = 2000
_LONGEST_LIST = 200

T = TypeVar("T")


def _mended(value: T) -> T:
    """Copy *value* without lone surrogates, endless strings, integers of more than 64 bits and the raw usage."""
    mended: Any = value
    if isinstance(value, str):
        mended = value[:_LONGEST_STRING].encode("utf-8", "backslashreplace").decode()
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        mended = None
    elif isinstance(value, tuple | frozenset):
        mended = type(value)(_mended(item) for item in list(value)[:_LONGEST_LIST])
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        mended = msgspec.structs.replace(
            value, **{name: None if name == "usage_raw" else _mended(getattr(value, name)) for name in names}
        )
    return mended  # type: ignore[no-any-return]
