"""What stands in the journal: one OPEN before the upstream is called, one CLOSE when its last byte was read."""

from __future__ import annotations

from datetime import datetime

import msgspec

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

    def aborted(self) -> UsageRecord:
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
            outcome="aborted",
            error="gateway_died",
            upstream=self.upstream,
            attempts=(Attempt(upstream=self.upstream),) if self.upstream else (),
        )


class Closed(Value, frozen=True, kw_only=True, tag="close"):
    """A call that ended, with all that its record needs."""

    record: UsageRecord


Entry = Opened | Closed

encode = msgspec.msgpack.Encoder().encode
"""An entry's payload."""

_decoder = msgspec.msgpack.Decoder(Entry)


def decode(payload: bytes) -> Entry:
    """Read a payload. Raises msgspec.ValidationError or msgspec.DecodeError if it is none."""
    entry: Entry = _decoder.decode(payload)
    return entry
