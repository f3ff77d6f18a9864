"""What a relay tells of itself: a small file that it replaces every second, for whoever looks after it.

It lies in a folder of its own: the journal's folder is listed anew by the relay each time that its names change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from llm_one_api.stores.journal.segments import prepare
from llm_one_api.values import Value

_FILE = "relay/status.json"
_DRAFT = "relay/.status.json"


class Figures(Value, frozen=True, kw_only=True):
    """What happened to records before the relay could send them."""

    lost: int = 0
    """Records that writers say a full journal has cost."""
    corrupt: int = 0
    """Stretches that could not be read."""
    torn: int = 0
    """Entries that a dying writer, or a full disk, left half written."""
    misfit: int = 0
    """Records that could be read and do not fit: they are in the ledger's `refused_records`."""
    adopted: int = 0
    """Calls that were made `aborted`, as nothing is known of their end."""

    def __add__(self, other: Figures) -> Figures:
        return Figures(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def __or__(self, other: Figures) -> Figures:
        """Give the larger of each: what two readings of the same files have found."""
        return Figures(**{name: max(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__})


NONE = Figures()


class RelayStatus(Value, frozen=True, kw_only=True):
    """How a relay fares. What is counted goes on through its restarts."""

    at: datetime
    pid: int
    started_at: datetime
    lag: float
    """The age in seconds of the oldest record that is not acked; 0: all are."""
    oldest_unacked: datetime | None
    """When that call ended, or since when a segment cannot be read."""
    unacked_batches: int
    planned_batches: int
    """What is beyond those under way."""
    journal_bytes: int
    acked_bytes: int
    broker_away_since: datetime | None
    acks_away_since: datetime | None
    sent: int
    """Records sent; what a relay that starts anew finds unacked is sent, and counted, again."""
    acked: int
    resent: int
    """Batches sent again."""
    lost_at: datetime | None
    """When the last loss was told."""
    pruned_until: datetime | None
    """When the newest of those acked segments was acked that have been deleted; None: none has."""
    gone: Figures
    """Of segments that have left the folder."""
    there: Mapping[str, Figures]
    """Of those that are there, as far as there is anything to tell, by name."""
    unsettled: int = 0
    """Calls that have ended and are not yet charged to their quotas in the limit store."""
    limits_away_since: datetime | None = None
    unacked_records: int | None = None
    """Records that are not acked, as far as the journal was read. None: a relay of a version before tells it."""

    @property
    def figures(self) -> Figures:
        """All there ever were."""
        return sum(self.there.values(), self.gone)


def read(folder: Path) -> RelayStatus | None:
    """Read what the relay of *folder* told last; None: there is nothing, or nothing that can be read."""
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=RelayStatus)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def write(folder: Path, status: RelayStatus) -> None:
    """Replace it. Raises OSError; what was told before stays then."""
    prepare((folder / _FILE).parent)
    draft = folder / _DRAFT
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        content = msgspec.json.encode(status)
        if os.write(fd, content) != len(content):
            raise OSError("short write")
    finally:
        os.close(fd)
    draft.replace(folder / _FILE)
