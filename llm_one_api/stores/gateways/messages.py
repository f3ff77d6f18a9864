"""What is told of a journal."""

from __future__ import annotations

import msgspec

from llm_one_api.stores.journal.status import RelayStatus


class JournalFigures(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """How the journal of a machine fares. None: it cannot be told."""

    relay_tells: bool
    """Whether its relay has told of itself of late; what only the relay knows is None otherwise."""
    bytes: int | None
    lost: int | None
    """Records that it has ever cost that it was full."""
    lag_records: int | None = None
    lag_seconds: float | None = None
    unsettled: int | None = None


def of_journal(relay: RelayStatus | None, size: int | None, lost: int | None) -> JournalFigures:
    """Lay out how a journal fares; *relay* is what its relay tells, if it does."""
    if relay is None:
        return JournalFigures(relay_tells=False, bytes=size, lost=lost)
    return JournalFigures(
        relay_tells=True,
        bytes=size,
        lost=lost,
        lag_records=relay.unacked_records,
        lag_seconds=relay.lag,
        unsettled=relay.unsettled,
    )
