"""What stands in a message to the ingest workers."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, NamedTuple

import msgspec

from llm_one_api.books.parcel import unpack
from llm_one_api.values import UsageRecord


class Message(NamedTuple):
    """A batch on its way."""

    journal: str
    batch: str
    records: list[UsageRecord]


def read_message(message: dict[str, Any]) -> Message:
    """Read one as it stands in a queue of Redis."""
    (journal, batch, parcel), _, _ = msgspec.json.decode(b64decode(message["body"]))
    return Message(journal, batch, [msgspec.json.decode(line, type=UsageRecord) for line in unpack(parcel)])
