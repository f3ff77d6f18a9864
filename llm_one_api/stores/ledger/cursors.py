"""How far each plugin has come, and who may deliver to it now."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger import tables
from llm_one_api.stores.ledger.engine import clock
from llm_one_api.values import Value

_c = tables.cursors.c
LONGEST_ERROR = 2000


class Lease(Value, frozen=True, kw_only=True):
    """The right to deliver to one consumer, for a while."""

    consumer: str
    seq: int
    """The last record delivered."""
    since: int
    """The record after which the present run began."""
    fence: int
    """Grows with each lease: who was overtaken cannot move the cursor."""
    failures: int
    """How often delivery failed since it last got on."""
    seconds: float


class Position(Value, frozen=True, kw_only=True):
    """How far a consumer is, and how it fares."""

    seq: int
    since: int
    failures: int
    error: str | None


class Cursors:
    """All consumers' places. Leases go by the database's clock."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine."""
        self._engine = engine
        self._now: Any = literal_column(str(clock(engine)))

    def lease(self, consumer: str, owner: str, seconds: float) -> Lease | None:
        """Take the lease for *seconds*; None: another has it, or the consumer is to be left alone for now."""
        with self._engine.begin() as connection:
            self._ensure(connection, consumer)
            row = connection.execute(
                update(tables.cursors)
                .where(_c.consumer == consumer, _c.lease_until < self._now, _c.retry_at <= self._now)
                .values(owner=owner, fence=_c.fence + 1, lease_until=self._now + seconds, seen_at=self._now)
                .returning(_c.seq, _c.since, _c.fence, _c.failures)
            ).one_or_none()
        if row is None:
            return None
        return Lease(
            consumer=consumer, seq=row.seq, since=row.since, fence=row.fence, failures=row.failures, seconds=seconds
        )

    def advance(self, lease: Lease, seq: int) -> Lease | None:
        """Move to *seq*, which is progress, and renew; None: the lease was lost, nothing was moved."""
        moved = self._hold(lease, seq=seq, failures=0, error=None)
        return None if moved is None else Lease(**{**_fields(lease), "seq": seq, "failures": 0})

    def renew(self, lease: Lease) -> Lease | None:
        """Hold it for as long again; None: it was lost."""
        return None if self._hold(lease) is None else lease

    def release(self, lease: Lease) -> None:
        """Give it back, if it is still held."""
        self._let_go(lease, retry_at=0.0)

    def fail(self, lease: Lease, error: str, retry_in: float) -> None:
        """Give it back and let nobody have it for *retry_in* seconds."""
        text = error.replace("\x00", "\ufffd")[:LONGEST_ERROR]
        self._let_go(lease, retry_at=self._now + retry_in, error=text, failures=_c.failures + 1)

    def begin_run(self, consumer: str, since: int) -> None:
        """Note that a run of *consumer* begins after *since*."""
        with self._engine.begin() as connection:
            self._ensure(connection, consumer)
            connection.execute(update(tables.cursors).where(_c.consumer == consumer).values(since=since))

    def position(self, consumer: str) -> Position | None:
        """Tell how far *consumer* is; None: it was never there."""
        asked = select(_c.seq, _c.since, _c.failures, _c.error).where(_c.consumer == consumer)
        with self._engine.connect().execution_options(reads_only=True) as connection:
            row = connection.execute(asked).one_or_none()
        return None if row is None else Position(seq=row.seq, since=row.since, failures=row.failures, error=row.error)

    def _ensure(self, connection: Any, consumer: str) -> None:
        """Make the row of a new consumer: it begins with the ledger's first record."""
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        connection.execute(
            insert(tables.cursors)
            .values(
                consumer=consumer, seq=0, since=0, fence=0, owner=None, lease_until=0.0, failures=0, retry_at=0.0,
                error=None, seen_at=self._now,
            )
            .on_conflict_do_nothing(index_elements=["consumer"])
        )  # fmt: skip

    def _hold(self, lease: Lease, **values: Any) -> int | None:
        with self._engine.begin() as connection:
            row = connection.execute(
                update(tables.cursors)
                .where(_c.consumer == lease.consumer, _c.fence == lease.fence, _c.seq == lease.seq)
                .where(_c.lease_until > 0.0)
                .values(lease_until=self._now + lease.seconds, seen_at=self._now, **values)
                .returning(_c.seq)
            ).one_or_none()
        return None if row is None else int(row.seq)

    def _let_go(self, lease: Lease, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(tables.cursors)
                .where(_c.consumer == lease.consumer, _c.fence == lease.fence)
                .values(owner=None, lease_until=0.0, **values)
            )


def _fields(lease: Lease) -> dict[str, Any]:
    return {name: getattr(lease, name) for name in lease.__struct_fields__}
