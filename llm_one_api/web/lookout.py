"""What a gunicorn process knows of the records' way: looked up every few seconds, so that asking costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from llm_one_api.plugins.interfaces import local_iso
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import Waiting, measure
from llm_one_api.stores.journal.status import RelayStatus
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.ledger.pipeline import SetAside
from llm_one_api.values import Value

LATE_SECONDS = 60.0
"""Records that are not in the ledger after so long are late."""
STALE_SECONDS = 15.0
"""What a relay told so long ago is no longer true: it tells every second."""
JOBS_SECONDS = 30.0
"""How often it is looked which jobs are overdue."""
LOSS_SECONDS = 3600.0
"""For how long a loss is something to look at."""


class Figures(Value, frozen=True, kw_only=True):
    """What `/health/ready` tells beside what is missing. None: it cannot be told."""

    journal_bytes: int | None = None
    relay_lag: float | None = None
    """Seconds since the end of the oldest call whose record is not in the ledger; 0: all are."""
    oldest_unacked: str | None = None
    """When that was."""
    dead_letters: int | None = None
    lost_records: int | None = None
    refused_records: int | None = None
    unsettled: int | None = None
    """Calls that have ended and are not yet charged to their quotas."""
    limits_away_since: str | None = None
    """Since when limits cannot be relied on here: their store is away, or has lost the counters of quotas."""
    admitted_without_limits: int | None = None
    """Calls that this process has admitted meanwhile. None: there are no limits."""
    overdue_jobs: tuple[str, ...] | None = None
    """Periodic jobs that ought to have been done by now."""


class Limits(Protocol):
    """What is looked at of the limits."""

    @property
    def without(self) -> int:
        """Count the calls that were admitted while the limits could not be relied on."""


class Lookout:
    """Looks at the journal's folder, at the ledger and at the limits, and remembers what it saw."""

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        *,
        max_bytes: int | None,
        set_aside: Callable[[], SetAside],
        zone: ZoneInfo,
        limits: Callable[[], Limits | None] = lambda: None,
        overdue: Callable[[], Sequence[str]] = lambda: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at nothing yet. *journal* is told when more than *max_bytes* waits in *folder*.

        *set_aside* and *overdue* ask the ledger. *limits* gives those that there are now.
        """
        self.journal = journal
        self._folder = folder
        self.max_bytes = max_bytes
        self._ask = set_aside
        self._zone = zone
        self._limits = limits
        self._limits_away_since: float | None = None
        self._clock = clock
        self._began = clock()
        self.waiting: Waiting | None = None
        self.last_told: RelayStatus | None = None
        """What a relay told last, however long ago."""
        self._set_aside: SetAside | None = None
        self._ask_overdue = overdue
        self._overdue: tuple[str, ...] | None = None
        self._overdue_at = 0.0

    def look_at_disk(self) -> None:
        """Measure what waits, and read what the relay tells. Blocks. Raises OSError."""
        try:
            self.waiting = measure(self._folder)
        except OSError:
            self.waiting = None
            raise
        self.last_told = status.read(self._folder)
        self.journal.limit(over=self.max_bytes is not None and self.waiting.bytes >= self.max_bytes)

    def look_at_ledger(self) -> None:
        """Count what was set aside, and see which jobs are overdue. Blocks. Raises what the database raises."""
        try:
            self._set_aside = self._ask()
            now = self._clock()
            if self._overdue is None or abs(now - self._overdue_at) >= JOBS_SECONDS:
                self._overdue, self._overdue_at = tuple(self._ask_overdue()), now
        except Exception:
            self._set_aside = self._overdue = None
            raise

    def look_at_limits(self, are_whole: Callable[[], bool]) -> None:
        """See whether the limits can be relied on, as *are_whole* tells. Blocks. Raises if they cannot."""
        whole = False
        try:
            whole = are_whole()
        finally:
            self._limits_away_since = None if whole else self._limits_away_since or self._clock()
        if not whole:
            raise LookupError("the counters of quotas are not whole")

    @property
    def relay(self) -> RelayStatus | None:
        """What the relay tells of itself, unless it is long since it did."""
        told = self.last_told
        return None if told is None or abs(self._clock() - told.at.timestamp()) > STALE_SECONDS else told

    @property
    def lost(self) -> int | None:
        """Count the lost records: those that all processes have told of, and ours that nobody knows of yet."""
        told, untold = self.last_told, self.journal.lost_untold
        return None if told is None and not untold else untold + (told.figures.lost if told else 0)

    def figures(self) -> Figures:
        """Tell what was seen."""
        waiting, relay, aside, since = self.waiting, self.relay, self._set_aside, self._limits_away_since
        limits = self._limits()
        return Figures(
            journal_bytes=None if waiting is None else waiting.bytes,
            relay_lag=None if relay is None else round(relay.lag, 1),
            oldest_unacked=None if relay is None else self.local(relay.oldest_unacked),
            dead_letters=None if aside is None else aside.dead_letters,
            lost_records=self.lost,
            refused_records=None if aside is None else aside.refused_records,
            unsettled=None if relay is None or limits is None else relay.unsettled,
            limits_away_since=None if since is None else self.local(datetime.fromtimestamp(since, UTC)),
            admitted_without_limits=None if limits is None else limits.without,
            overdue_jobs=self._overdue,
        )

    def because(self) -> list[str]:
        """Name what somebody has to look at, though calls are served."""
        now, relay, aside = self._clock(), self.relay, self._set_aside
        lost_at = None if self.last_told is None else self.last_told.lost_at
        found = {
            "job_overdue": bool(self._overdue),
            "dead_letters": aside is not None and aside.dead_letters > 0,
            "journal_full": self.journal.full,
            "lost_records": self.journal.lost_untold > 0
            or (lost_at is not None and now - lost_at.timestamp() < LOSS_SECONDS),
            "refused_records": aside is not None and aside.refused_records > 0,
            "relay_lag": relay is not None and relay.lag > LATE_SECONDS,
            "relay_status": relay is None and now - self._began > STALE_SECONDS,
        }
        return [name for name, is_so in found.items() if is_so]

    def local(self, at: datetime | None) -> str | None:
        """Write a time as all pages do."""
        return None if at is None else local_iso(at, self._zone)
