"""Takes a batch of the journal's records into the ledger, then says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from llm_one_api.limits.charging import Booking
from llm_one_api.stores.ledger.ingesting import Ingested, Refused, unreadable
from llm_one_api.values import UsageRecord

log = structlog.get_logger()

DEEPEST = 64
"""Levels of a provider's usage object that are kept: deeper ones could not be read again everywhere."""

_decoder = msgspec.json.Decoder(UsageRecord)


class Ledger(Protocol):
    """What ingest needs of the ledger."""

    def ingest(self, batch: Sequence[UsageRecord], refused: Sequence[Refused] = ()) -> Ingested:
        """Keep what is new, in one transaction."""


Book = Callable[[Sequence[Booking]], None]
"""Tell the limit store what is in the ledger by now. Never raises, and never takes long."""


def _book_nothing(_bookings: Sequence[Booking]) -> None:
    """Leave it to the quota check."""


def ingest(ledger: Ledger, lines: Sequence[str], ack: Callable[[], None], book: Book = _book_nothing) -> Ingested:
    """Keep the records of *lines* (JSON, one each), then call *book*, then *ack*.

    May come twice: the second has no effect.

    A line that is no record is set aside with the reason. Raises what the ledger raises; nothing was kept then, and
    nothing is acked, so the relay sends the batch again.
    """
    batch: list[UsageRecord] = []
    refused: list[Refused] = []
    for line in lines:
        try:
            batch.append(_record(line))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            refused.append(unreadable(line, f"it is no record: {error}"))
    done = ledger.ingest(batch, refused)
    if done.refused:
        log.error("ingest.refused", records=done.refused, see="table refused_records")
    book(done.bookings)
    ack()
    return done


def _record(line: str) -> UsageRecord:
    record = _decoder.decode(line)
    # Counting is quick, and nearly always enough: what opens nothing is not deep.
    if line.count("{") + line.count("[") > DEEPEST and _depth(record.usage_raw) > DEEPEST:
        raise RecursionError(f"usage_raw is nested more than {DEEPEST} levels deep")
    return record


def _depth(value: Any) -> int:
    """Count the levels of *value*, whatever their number: not by recursion."""
    levels, level = 0, [value]
    while level := [within for outer in level for within in _within(outer)]:
        levels += 1
    return levels


def _within(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return tuple(value.values())
    return value if isinstance(value, list) else ()
