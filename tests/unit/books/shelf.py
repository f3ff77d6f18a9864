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


class Row(msgspec.Struct):
    seq: int = 0
    since: int = 0
    fence: int = 0
    owner: str | None = None
    until: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    error: str | None = None


class ShelfCursors:
    """One row a consumer; a lease is the right to change it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rows: dict[str, Row] = {}
        self.clock = clock
        self.moves: list[tuple[str, int]] = []

    def lease(self, consumer: str, owner: str, seconds: float) -> Lease | None:
        row, now = self.rows.setdefault(consumer, Row()), self.clock()
        if (row.owner is not None and row.until > now) or row.retry_at > now:
            return None
        row.fence += 1
        row.owner, row.until = owner, now + seconds
        return self._held(consumer)

    def advance(self, lease: Lease, seq: int) -> Lease | None:
        row = self.rows[lease.consumer]
        if (row.fence, row.seq, row.owner is None) != (lease.fence, lease.seq, False):
            return None
        row.seq, row.failures, row.error = seq, 0, None
        self.moves.append((lease.consumer, seq))
        return self._held(lease.consumer)

    def renew(self, lease: Lease) -> Lease | None:
        row = self.rows[lease.consumer]
        return self._held(lease.consumer) if row.fence == lease.fence and row.owner is not None else None

    def release(self, lease: Lease, seq: int | None = None) -> bool:
        row = self.rows[lease.consumer]
        if seq is not None and seq > lease.seq and self.advance(lease, seq) is None:
            return False
        if row.fence != lease.fence:
            return False
        row.owner = None
        return True

    def fail(self, lease: Lease, error: str, retry_in: float) -> None:
        row = self.rows[lease.consumer]
        if row.fence == lease.fence:
            row.owner, row.failures, row.error = None, row.failures + 1, error
            row.retry_at = self.clock() + retry_in

    def begin_run(self, consumer: str, since: int) -> None:
        self.rows.setdefault(consumer, Row()).since = since

    def _held(self, consumer: str) -> Lease:
        row = self.rows[consumer]
        return Lease(consumer, row.seq, row.since, row.fence, row.failures)


class Shelf:
    """Keeps records in a list; their `seq` is their place in it, from 1."""

    def __init__(self, records: Iterable[UsageRecord] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.records = list(records)
        self.cursors = ShelfCursors(clock)

    def read(self, after: int, limit: int) -> list[Kept]:
        return [Kept(after + n + 1, record) for n, record in enumerate(self.records[after : after + limit])]

    def last_seq(self) -> int:
        return len(self.records)
