"""What is told of a journal."""

from __future__ import annotations

import msgspec


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
