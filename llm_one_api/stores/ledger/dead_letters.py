"""Records that were set aside: by a plugin that refused them again and again, or by the ledger itself.

The ledger's own stand in `refused_records` and appear here as those of the consumer `ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, bindparam, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger.cursors import Cursors, Lease, storable
from llm_one_api.stores.ledger.engine import reading
from llm_one_api.stores.ledger.ingesting import Ingested, Ingesting, Refused, ascii_json
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT, Kept
from llm_one_api.stores.ledger.tables import dead_letters, records, refused_records
from llm_one_api.values import UsageRecord, Value

LEDGER = "ledger"
"""The consumer under whose name stands what the ledger itself refused. No plugin can have that name here."""

_AT_ONCE = 1000
"""Ids that a statement names: databases take only so many values in one."""

_c = dead_letters.c
_r = refused_records.c


class Letter(Value, frozen=True, kw_only=True):
    """A record that was set aside, with the reason."""

    id: int
    consumer: str
    seq: int | None
    """Its place in the ledger; None: it is not in the ledger, which refused it."""
    request_id: str
    reason: str
    tries: int
    line: str
    """The record, as JSON in ASCII: it outlives the record's own row."""
    at: datetime
    """When it was set aside."""

    def record(self) -> UsageRecord:
        """Read the record; raises msgspec.MsgspecError if the line is none."""
        return msgspec.json.decode(self.line, type=UsageRecord)


class DeadLetters:
    """All that was set aside."""

    def __init__(self, engine: Engine, cursors: Cursors, ingesting: Ingesting) -> None:
        """Keep the engine, who moves cursors within a transaction, and who takes records in."""
        self._engine = engine
        self._reading = reading(engine)
        self._cursors = cursors
        self._ingesting = ingesting
        self._insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(dead_letters)

    # -- setting aside --

    def set_aside(self, lease: Lease, kept: Kept, reason: str, tries: int) -> Lease | None:
        """Set *kept* aside and move the cursor of *lease* over it, in one transaction; None: the lease was lost."""
        values = {
            "consumer": lease.consumer,
            "seq": kept.seq,
            "request_id": kept.record.request_id.replace(NUL, REPLACEMENT),
            "reason": storable(reason),
            "tries": tries,
            "line": ascii_json(msgspec.json.encode(kept.record).decode()),
            "at": datetime.now(UTC),
        }
        again = {name: values[name] for name in ("reason", "tries", "line", "at")}
        with self._engine.begin() as connection:
            moved = self._cursors.move_within(connection, lease, kept.seq)
            if moved is not None:
                insert = self._insert.values(values)
                connection.execute(insert.on_conflict_do_update(index_elements=["consumer", "seq"], set_=again))
        return moved

    # -- looking --

    def count(self) -> dict[str, int]:
        """Count them by consumer."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(_c.consumer, func.count()).group_by(_c.consumer)).all()
            refused = connection.execute(select(func.count()).select_from(refused_records)).scalar_one()
        return {consumer: int(count) for consumer, count in rows} | ({LEDGER: refused} if refused else {})

    def list(
        self, consumer: str | None = None, ids: Sequence[int] | None = None, limit: int | None = None
    ) -> list[Letter]:
        """Give those of *consumer*, or of all, in the ledger's order; with *ids*, only those among them.

        With *limit*, no more than so many.
        """
        found: list[Letter] = []
        with self._reading.connect() as connection:
            if consumer != LEDGER:
                asked = select(dead_letters).order_by(_c.consumer, _c.seq).limit(limit)
                if consumer is not None:
                    asked = asked.where(_c.consumer == consumer)
                if ids is not None:
                    asked = asked.where(_c.id.in_(ids))
                found += [Letter(**row) for row in connection.execute(asked).mappings()]
            if consumer in {LEDGER, None}:
                asked = select(refused_records).order_by(_r.id).limit(limit)
                if ids is not None:
                    asked = asked.where(_r.id.in_(ids))
                found += [
                    Letter(consumer=LEDGER, seq=None, tries=1, **row) for row in connection.execute(asked).mappings()
                ]
        return found[:limit]

    def refusal(self, request_id: str) -> str | None:
        """Tell why the ledger refuses the record *request_id*; None: it does not."""
        with self._reading.connect() as connection:
            return connection.execute(select(_r.reason).where(_r.request_id == request_id)).scalar()

    def places(self, consumer: str, after: int, upto: int) -> set[int]:
        """Tell which records with *after* < seq ≤ *upto* are set aside for *consumer*."""
        asked = select(_c.seq).where(_c.consumer == consumer, _c.seq > after, _c.seq <= upto)
        with self._reading.connect() as connection:
            return set(connection.execute(asked).scalars())

    # -- what becomes of them --

    def drop(self, consumer: str, ids: Sequence[int]) -> int:
        """Forget those of *consumer* with these *ids*; tells how many there were."""
        mine: Any = (
            delete(refused_records).where(_r.id.in_(bindparam("some", expanding=True)))
            if consumer == LEDGER
            else delete(dead_letters).where(_c.consumer == consumer, _c.id.in_(bindparam("some", expanding=True)))
        )
        with self._engine.begin() as connection:
            return sum(
                connection.execute(mine, {"some": ids[at : at + _AT_ONCE]}).rowcount
                for at in range(0, len(ids), _AT_ONCE)
            )

    def refused_again(self, letter: Letter, reason: str) -> None:
        """Keep *letter* with the new reason."""
        again = update(dead_letters).where(_c.consumer == letter.consumer, _c.id == letter.id)
        with self._engine.begin() as connection:
            connection.execute(again.values(reason=storable(reason), tries=_c.tries + 1))

    def ingest(self, letter: Letter) -> Ingested:
        """Take *letter*, which the ledger refused, into the ledger, in one transaction; see whether it did.

        If it is refused again, it stands there anew, with the new reason.
        """
        batch: list[UsageRecord] = []
        refused: list[Refused] = []
        try:
            batch.append(letter.record())
        except msgspec.MsgspecError as error:
            reason = f"it is no record: {error}"
            refused.append(Refused(request_id=letter.request_id, reason=reason, line=letter.line))
        return self._ingesting.ingest(batch, refused, instead_of=[letter.request_id])

    def rewind(self, lease: Lease, seq: int) -> Lease | None:
        """Set the cursor of *lease* back to *seq*; None: the lease was lost.

        What is set aside and comes again by that is set aside no longer, in the same transaction.
        """
        comes_again = exists().where(records.c.seq == _c.seq)
        with self._engine.begin() as connection:
            moved = self._cursors.rewind_within(connection, lease, seq)
            if moved is not None:
                mine = delete(dead_letters).where(_c.consumer == lease.consumer, _c.seq > seq)
                connection.execute(mine.where(comes_again))
        return moved
