"""What stands in the journal: one OPEN before the upstream is called, one CLOSE when its last byte was read.

Where the tokens have to be counted first, an ENDED comes in between: the call is over, and its caller may see the end.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from llm_one_api.stores.journal.framing import MAX_PAYLOAD, frame
from llm_one_api.values import Attempt, Caller, Permit, UsageRecord, Value

DIED = "gateway_died"
"""The error of a call whose process ended before it could tell how it went."""
DAMAGED = "journal_damaged"
"""The error of a call whose end was told, where it cannot be read any more."""


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

    def left(self, error: str = DIED) -> UsageRecord:
        """Make the record of a call of whose end nothing is known, because of *error*.

        Its quotas are charged its input, as it was estimated: so much was sent, and nobody knows of more.
        """
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
            error=error,
            upstream=self.upstream,
            attempts=(Attempt(upstream=self.upstream),) if self.upstream else (),
            quota_windows=self.permit.windows,
            quota_tokens=self.permit.input_tokens if self.permit.windows else None,
        )


class Ended(Value, frozen=True, kw_only=True, tag="ended"):
    """A call that ended and whose tokens are being counted; a CLOSE with the figures follows."""

    record: UsageRecord

    def left(self, error: str = DIED) -> UsageRecord:  # noqa: ARG002 (what is known needs no excuse)
        """Give the record of a call of which the tokens will not be told any more: all but those is known."""
        return self.record


class Closed(Value, frozen=True, kw_only=True, tag="close", omit_defaults=True):
    """A call that ended, with all that its record needs."""

    record: UsageRecord
    again: bool = False
    """Whether it was in the ledger before (`relay resend`). What it is charged is known then, or is seen by ingest."""


class Carried(Value, frozen=True, kw_only=True, tag="carried"):
    """The start of a segment ends here: above it stand copies of the calls that were open when it was made."""

    calls: int


class Lost(Value, frozen=True, kw_only=True, tag="lost"):
    """Records that a full journal has cost since the last one of these, told when there was room for it."""

    records: int
    at: datetime


class Misfit(Value, frozen=True, kw_only=True):
    """A CLOSE that is whole and yet holds no record: its values do not fit, as of another version. Only ever read."""

    request_id: str
    line: str
    """What stands there, as JSON: it goes where records go that cannot be kept."""


Written = Opened | Ended | Closed | Carried | Lost
Entry = Written | Misfit

encode = msgspec.msgpack.Encoder().encode
"""An entry's payload."""

_decoder = msgspec.msgpack.Decoder(Written)


def decode(payload: bytes) -> Entry:
    """Read a payload. Raises msgspec.ValidationError or msgspec.DecodeError if it is none."""
    try:
        entry: Entry = _decoder.decode(payload)
    except msgspec.ValidationError:
        misfit = _misfit(payload)
        if misfit is None:
            raise
        return misfit
    return entry


def _misfit(payload: bytes) -> Misfit | None:
    """Read a CLOSE whatever its values are; None: it is something else."""
    found: Any = msgspec.msgpack.decode(payload)
    record = found.get("record") if isinstance(found, dict) and found.get("type") == "close" else None
    name = record.get("request_id") if isinstance(record, dict) else None
    if not isinstance(name, str):
        return None
    return Misfit(request_id=name, line=msgspec.json.encode(record).decode())


def framed(entry: Written) -> bytes:
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
