"""How far each plugin has come, and who may deliver to it now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Select, Update, bindparam, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger import tables
from llm_one_api.stores.ledger.engine import clock, unsynced
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT
from llm_one_api.values import Value

_c = tables.cursors.c
_r = tables.records.c
_who: Any = bindparam("who")
LONGEST_ERROR = 2000
_ENDED = "its process ended"


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
    refusals: int = 0
    """How often in a row the consumer refused the record after *seq*."""
    deaths: int = 0
    """How often a process ended that had given it that record."""
    after_death: bool = False
    """Whether its last failure was that a process ended."""
    died: str | None = None
    """What became of the last holder, if it ended without giving the lease back: counted already, as a failure."""
    seconds: float


class Position(Value, frozen=True, kw_only=True):
    """How far a consumer is, and how it fares."""

    consumer: str
    seq: int
    since: int
    failures: int
    error: str | None
    retry_in: float
    """Seconds for which it is left alone yet."""
    seen_at: float
    """When it was looked after last, in seconds since 1970."""


class Cursors:
    """All consumers' places. Leases go by the database's clock.

    A power cut may set a cursor back a little, and its consumer is given some records again: it has to expect that.
    """

    def __init__(self, engine: Engine) -> None:
        """Keep the engine, and the statements: to build one costs more than to execute it."""
        self._engine = unsynced(engine)
        now: Any = literal_column(str(clock(engine)))
        mine = update(tables.cursors).where(_c.consumer == _who)
        held = mine.where(_c.fence == bindparam("fencing"), _c.seq == bindparam("was"))
        until = {"lease_until": now + bindparam("seconds"), "seen_at": now}
        moved = {"seq": bindparam("to"), "failures": 0, "refusals": 0, "deaths": 0, "error": None}
        gone = {"owner": None, "in_hand": None, "lease_until": 0.0, "retry_at": 0.0}
        later = gone | {"retry_at": now + bindparam("seconds")}
        self._found = (
            select(
                *(_c.seq, _c.since, _c.fence, _c.failures, _c.refusals, _c.deaths, _c.error, _c.owner, _c.in_hand),
                (_c.lease_until < now).label("over"),
                (_c.retry_at <= now).label("may_be_tried"),
            )
            .where(_c.consumer == _who)
            .with_for_update()
        )
        counted: dict[str, Any] = {
            name: bindparam(f"{name}_are") for name in ("failures", "refusals", "deaths", "error")
        }
        self._take = mine.values(owner=bindparam("by"), in_hand=None, fence=_c.fence + 1, **until, **counted)
        self._renew = held.where(_c.lease_until > 0.0).values(until | {"in_hand": bindparam("given")})
        self._advance = self._renew.values(moved)
        self._release = held.values(gone)
        self._release_moved = held.values(gone | moved)
        self._defer = held.values(later)
        self._fail = held.values(
            later
            | {
                "error": bindparam("why"),
                "failures": _c.failures + 1,
                "refusals": _c.refusals + bindparam("refused"),
            }
        )
        self._rewind = self._renew.values(moved | {"since": bindparam("begins_after")})
        self._all = select(
            *(_c.consumer, _c.seq, _c.since, _c.failures, _c.error, _c.seen_at, (_c.retry_at - now).label("retry_in"))
        ).order_by(_c.consumer)
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._begin = (
            insert(tables.cursors)
            .values(
                consumer=_who, seq=0, since=0, fence=0, owner=None, lease_until=0.0, failures=0, retry_at=0.0,
                error=None, seen_at=now,
            )
            .on_conflict_do_nothing(index_elements=["consumer"])
        )  # fmt: skip

    def lease(
        self,
        consumer: str,
        owner: str,
        seconds: float,
        *,
        gone: Callable[[str], bool] = lambda _: False,
        at_once: bool = False,
    ) -> Lease | None:
        """Take the lease for *seconds*; None: another has it, or the consumer is to be left alone for now.

        It need not be waited for whose holder is known to be *gone*. With *at_once* a consumer that failed is not left
        alone.
        """
        with self._engine.begin() as connection:
            found = connection.execute(self._found, {"who": consumer}).one_or_none()
            if found is None:
                connection.execute(self._begin, {"who": consumer})
                found = connection.execute(self._found, {"who": consumer}).one()
            if not (found.may_be_tried or at_once):
                return None
            if found.owner is not None and not (found.over or gone(found.owner)):
                return None
            died = None if found.owner is None else _death(found)
            error = died or found.error
            counts = {
                "failures": found.failures + (died is not None),
                "refusals": found.refusals,
                "deaths": found.deaths + (died is not None and found.in_hand is not None),
            }
            taken = {"who": consumer, "by": owner, "seconds": seconds, "error_are": error}
            connection.execute(self._take, taken | {f"{name}_are": value for name, value in counts.items()})
        return Lease(
            **counts,
            consumer=consumer, seq=found.seq, since=found.since, fence=found.fence + 1, died=died, seconds=seconds,
            after_death=error is not None and error.startswith(_ENDED),
        )  # fmt: skip

    def advance(self, lease: Lease, seq: int, in_hand: int | None = None) -> Lease | None:
        """Move to *seq*, which is progress, and renew; None: the lease was lost, nothing was moved.

        *in_hand* is the record that is given to the consumer next: should the process end, it is known with which.
        """
        moved = self._do(self._advance, lease, to=seq, given=in_hand, seconds=lease.seconds)
        return msgspec.structs.replace(lease, seq=seq, failures=0, refusals=0, deaths=0) if moved else None

    def renew(self, lease: Lease, in_hand: int | None = None) -> Lease | None:
        """Hold it for as long again, noting what is *in_hand*; None: it was lost."""
        return lease if self._do(self._renew, lease, given=in_hand, seconds=lease.seconds) else None

    def release(self, lease: Lease, seq: int | None = None) -> bool:
        """Give it back, having moved to *seq* if that is progress; False: it was lost, nothing was moved."""
        if seq is None or seq <= lease.seq:
            return self._do(self._release, lease)
        return self._do(self._release_moved, lease, to=seq)

    def fail(self, lease: Lease, error: str, retry_in: float, *, refused: bool = False) -> None:
        """Give it back and let nobody have it for *retry_in* seconds; *refused*: the next record was."""
        self._do(self._fail, lease, why=storable(error), seconds=retry_in, refused=int(refused))

    def defer(self, lease: Lease, retry_in: float) -> None:
        """Give it back and let nobody have it for *retry_in* seconds, for what is counted already."""
        self._do(self._defer, lease, seconds=retry_in)

    def move_within(self, connection: Connection, lease: Lease, seq: int) -> Lease | None:
        """Do what `advance` does, as a part of the transaction of *connection*; *seq* need not be progress."""
        values = {"to": max(seq, lease.seq), "given": None, "seconds": lease.seconds}
        if connection.execute(self._advance, _named(lease, values)).rowcount != 1:
            return None
        return msgspec.structs.replace(lease, seq=values["to"], failures=0, refusals=0, deaths=0)

    def rewind_within(self, connection: Connection, lease: Lease, seq: int) -> Lease | None:
        """Go back to *seq*, after which the run begins; None: the lease was lost."""
        values = {"to": seq, "begins_after": seq, "given": None, "seconds": lease.seconds}
        if connection.execute(self._rewind, _named(lease, values)).rowcount != 1:
            return None
        return msgspec.structs.replace(lease, seq=seq, since=seq, failures=0, refusals=0, deaths=0)

    def begin_run(self, consumer: str, since: int) -> None:
        """Note that a run of *consumer* begins after *since*."""
        with self._engine.begin() as connection:
            connection.execute(self._begin, {"who": consumer})
            connection.execute(update(tables.cursors).where(_c.consumer == consumer).values(since=since))

    def position(self, consumer: str) -> Position | None:
        """Tell how far *consumer* is; None: it was never there."""
        return next(iter(self._positions(self._all.where(_c.consumer == consumer))), None)

    def positions(self) -> list[Position]:
        """Tell how far all are that ever were there, by name."""
        return self._positions(self._all)

    def before(self, at: datetime) -> int | None:
        """Tell the place before the first record admitted from *at* on; None: there is none."""
        with self._engine.connect().execution_options(reads_only=True) as connection:
            first = connection.execute(select(func.min(_r.seq)).where(_r.at >= at)).scalar_one()
        return None if first is None else int(first) - 1

    def _positions(self, asked: Select[Any]) -> list[Position]:
        with self._engine.connect().execution_options(reads_only=True) as connection:
            rows = connection.execute(asked).mappings().all()
        return [Position(**{**row, "retry_in": max(0.0, float(row["retry_in"]))}) for row in rows]

    def _do(self, statement: Update, lease: Lease, **values: Any) -> bool:
        """Execute *statement* on the row of *lease*; False: the lease is another's by now."""
        with self._engine.begin() as connection:
            return connection.execute(statement, _named(lease, values)).rowcount == 1


def storable(error: str) -> str:
    """Make of *error* a text that both databases take: a failure that cannot be noted would be taken for a crash."""
    return error.replace(NUL, REPLACEMENT).encode("utf-8", "backslashreplace").decode()[:LONGEST_ERROR]


def _named(lease: Lease, values: dict[str, Any]) -> dict[str, Any]:
    return {"who": lease.consumer, "fencing": lease.fence, "was": lease.seq, **values}


def _death(found: Any) -> str:
    if found.in_hand is None:
        return f"{_ENDED} in the middle of a delivery"
    return f"{_ENDED} while it had record {found.in_hand} in hand"
