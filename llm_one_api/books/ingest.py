"""Takes a batch of the journal's records into the ledger, then says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from llm_one_api.stores.ledger.ledger import Ingested, Refused, unreadable
from llm_one_api.values import UsageRecord

log = structlog.get_logger()

_decoder = msgspec.json.Decoder(UsageRecord)


class Ledger(Protocol):
    """What ingest needs of the ledger."""

    def ingest(self, batch: Sequence[UsageRecord], refused: Sequence[Refused] = ()) -> Ingested:
        """Keep what is new, in one transaction."""


def ingest(ledger: Ledger, lines: Sequence[str], ack: Callable[[], None]) -> Ingested:
    """Keep the records of *lines* (JSON, one each), then call *ack*. May come twice: the second has no effect.

    A line that is no record is set aside with the reason. Raises what the ledger raises; nothing was kept then, and
    nothing is acked, so the relay sends the batch again.
    """
    batch: list[UsageRecord] = []
    refused: list[Refused] = []
    for line in lines:
        try:
            batch.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeError) as error:
            refused.append(unreadable(line, f"it is no record: {error}"))
    done = ledger.ingest(batch, refused)
    if done.refused:
        log.error("ingest.refused", records=done.refused, see="table refused_records")
    ack()
    return done
