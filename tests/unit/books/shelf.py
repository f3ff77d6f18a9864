"""A ledger in memory, with the cursors' rules: small, real, and shared by the deliveries of one test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from llm_one_api.values import UsageRecord


class Kept(msgspec.Struct, frozen=True):
    seq: int
    record: UsageRecord


class Lease(msgspec.Struct, frozen=True):
    consumer: str
    seq: int
    since: int
    fence: int
    failures: int
    refusals: int
    deaths: int
    after_death: bool = False
    died: str | None = None


class Row(msgspec.Struct):
    seq: int = 0
    since: int = 0
    fence: int = 0
    owner: str | None = None
    until: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    error: str | None = None
    in_hand: int | None = None
    refusals: int = 0
    deaths: int = 0


class ShelfCursors:
    """One row a consumer; a lease is the right to change it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rows: dict[str, Row] = {}
        self.clock = clock
        self.moves: list[tuple[str, int]] = []

    def lease(
        self,
        consumer: str,
        owner: str,
        seconds: float,
        *,
        gone: Callable[[str], bool] = lambda _: False,
        at_once: bool = False,
    ) -> Lease | None:
        row, now = self.rows.setdefault(consumer, Row()), self.clock()
        if (row.retry_at > now and not at_once) or (row.owner is not None and row.until > now and not gone(row.owner)):
            return None
        died = None
        if row.owner is not None:
            died = row.error = f"ended with {row.in_hand} in hand"
            row.failures += 1
            row.deaths += row.in_hand is not None
        row.fence += 1
        row.owner, row.until, row.in_hand = owner, now + seconds, None
        return self._held(consumer, died)

    def advance(self, lease: Lease, seq: int, in_hand: int | None = None) -> Lease | None:
        row = self.rows[lease.consumer]
        if (row.fence, row.seq, row.owner is None) != (lease.fence, lease.seq, False):
            return None
        row.seq, row.failures, row.refusals, row.deaths, row.error = seq, 0, 0, 0, None
        row.in_hand = in_hand
        self.moves.append((lease.consumer, seq))
        return self._held(lease.consumer)

    def renew(self, lease: Lease, in_hand: int | None = None) -> Lease | None:
        row = self.rows[lease.consumer]
        if row.fence != lease.fence or row.owner is None:
            return None
        row.in_hand = in_hand
        return self._held(lease.consumer)

    def release(self, lease: Lease, seq: int | None = None) -> bool:
        row = self.rows[lease.consumer]
        if seq is not None and seq > lease.seq and self.advance(lease, seq) is None:
            return False
        if row.fence != lease.fence:
            return False
        row.owner = None
        return True

    def fail(self, lease: Lease, error: str, retry_in: float, *, refused: bool = False) -> None:
        row = self.rows[lease.consumer]
        if row.fence == lease.fence:
            row.failures, row.error = row.failures + 1, error
            row.refusals += refused
            self.defer(lease, retry_in)

    def defer(self, lease: Lease, retry_in: float) -> None:
        row = self.rows[lease.consumer]
        if row.fence == lease.fence:
            row.owner, row.retry_at = None, self.clock() + retry_in

    def begin_run(self, consumer: str, since: int) -> None:
        self.rows.setdefault(consumer, Row()).since = since

    def _held(self, consumer: str, died: str | None = None) -> Lease:
        row = self.rows[consumer]
        after_death = row.error is not None and row.error.startswith("ended")
        counts = (row.failures, row.refusals, row.deaths)
        return Lease(consumer, row.seq, row.since, row.fence, *counts, after_death, died)


class Letter(msgspec.Struct, frozen=True):
    consumer: str
    seq: int
    request_id: str
    reason: str
    tries: int


class ShelfLetters:
    """What was set aside, in the order of it."""

    def __init__(self, cursors: ShelfCursors) -> None:
        self.letters: list[Letter] = []
        self._cursors = cursors

    def set_aside(self, lease: Lease, kept: Kept, reason: str, tries: int) -> Lease | None:
        moved = self._cursors.advance(lease, max(kept.seq, lease.seq))
        if moved is not None:
            self.letters.append(Letter(lease.consumer, kept.seq, kept.record.request_id, reason, tries))
        return moved

    def places(self, consumer: str, after: int, upto: int) -> set[int]:
        return {one.seq for one in self.letters if one.consumer == consumer and after < one.seq <= upto}


class Shelf:
    """Keeps records in a list; their `seq` is their place in it, from 1."""

    def __init__(self, records: Iterable[UsageRecord] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.records = list(records)
        self.cursors = ShelfCursors(clock)
        self.dead_letters = ShelfLetters(self.cursors)

    def read(self, after: int, limit: int) -> list[Kept]:
        return [Kept(after + n + 1, record) for n, record in enumerate(self.records[after : after + limit])]

    def last_seq(self) -> int:
        return len(self.records)
