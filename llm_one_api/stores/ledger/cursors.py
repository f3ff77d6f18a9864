"""How far each plugin has come, and who may deliver to it now."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Update, bindparam, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger import tables
from llm_one_api.stores.ledger.engine import clock, unsynced
from llm_one_api.values import Value

_c = tables.cursors.c
_who: Any = bindparam("who")
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
    """All consumers' places. Leases go by the database's clock.

    A power cut may set a cursor back a little, and its consumer is given some records again: it has to expect that.
    """

    def __init__(self, engine: Engine) -> None:
        """Keep the engine, and the statements: to build one costs more than to execute it."""
        self._engine = unsynced(engine)
        now: Any = literal_column(str(clock(engine)))
        mine = update(tables.cursors).where(_c.consumer == _who)
        free = mine.where(_c.lease_until < now, _c.retry_at <= now)
        held = mine.where(_c.fence == bindparam("fencing"), _c.seq == bindparam("was"))
        until = {"lease_until": now + bindparam("seconds"), "seen_at": now}
        moved = {"seq": bindparam("to"), "failures": 0, "error": None}
        gone = {"owner": None, "lease_until": 0.0, "retry_at": 0.0}
        self._lease = free.values(owner=bindparam("by"), fence=_c.fence + 1, **until).returning(
            _c.seq, _c.since, _c.fence, _c.failures
        )
        self._renew = held.where(_c.lease_until > 0.0).values(until)
        self._advance = self._renew.values(moved)
        self._release = held.values(gone)
        self._release_moved = held.values(gone | moved)
        self._fail = held.values(
            gone | {"retry_at": now + bindparam("seconds"), "error": bindparam("why"), "failures": _c.failures + 1}
        )
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._begin = (
            insert(tables.cursors)
            .values(
                consumer=_who, seq=0, since=0, fence=0, owner=None, lease_until=0.0, failures=0, retry_at=0.0,
                error=None, seen_at=now,
            )
            .on_conflict_do_nothing(index_elements=["consumer"])
            .returning(_c.consumer)
        )  # fmt: skip

    def lease(self, consumer: str, owner: str, seconds: float) -> Lease | None:
        """Take the lease for *seconds*; None: another has it, or the consumer is to be left alone for now."""
        wish = {"who": consumer, "by": owner, "seconds": seconds}
        with self._engine.begin() as connection:
            row = connection.execute(self._lease, wish).one_or_none()
            if row is None and self._is_new(connection, consumer):
                row = connection.execute(self._lease, wish).one_or_none()
        if row is None:
            return None
        return Lease(
            consumer=consumer, seq=row.seq, since=row.since, fence=row.fence, failures=row.failures, seconds=seconds
        )

    def advance(self, lease: Lease, seq: int) -> Lease | None:
        """Move to *seq*, which is progress, and renew; None: the lease was lost, nothing was moved."""
        moved = self._do(self._advance, lease, to=seq, seconds=lease.seconds)
        return msgspec.structs.replace(lease, seq=seq, failures=0) if moved else None

    def renew(self, lease: Lease) -> Lease | None:
        """Hold it for as long again; None: it was lost."""
        return lease if self._do(self._renew, lease, seconds=lease.seconds) else None

    def release(self, lease: Lease, seq: int | None = None) -> bool:
        """Give it back, having moved to *seq* if that is progress; False: it was lost, nothing was moved."""
        if seq is None or seq <= lease.seq:
            return self._do(self._release, lease)
        return self._do(self._release_moved, lease, to=seq)

    def fail(self, lease: Lease, error: str, retry_in: float) -> None:
        """Give it back and let nobody have it for *retry_in* seconds."""
        self._do(self._fail, lease, why=error.replace("\x00", "\ufffd")[:LONGEST_ERROR], seconds=retry_in)

    def begin_run(self, consumer: str, since: int) -> None:
        """Note that a run of *consumer* begins after *since*."""
        with self._engine.begin() as connection:
            self._is_new(connection, consumer)
            connection.execute(update(tables.cursors).where(_c.consumer == consumer).values(since=since))

    def position(self, consumer: str) -> Position | None:
        """Tell how far *consumer* is; None: it was never there."""
        asked = select(_c.seq, _c.since, _c.failures, _c.error).where(_c.consumer == consumer)
        with self._engine.connect().execution_options(reads_only=True) as connection:
            row = connection.execute(asked).one_or_none()
        return None if row is None else Position(seq=row.seq, since=row.since, failures=row.failures, error=row.error)

    def _is_new(self, connection: Connection, consumer: str) -> bool:
        """Make the row of a consumer that has none: it begins with the ledger's first record."""
        return connection.execute(self._begin, {"who": consumer}).one_or_none() is not None

    def _do(self, statement: Update, lease: Lease, **values: Any) -> bool:
        """Execute *statement* on the row of *lease*; False: the lease is another's by now."""
        named = {"who": lease.consumer, "fencing": lease.fence, "was": lease.seq, **values}
        with self._engine.begin() as connection:
            return connection.execute(statement, named).rowcount == 1
