"""Deletes what is no longer kept, a bounded number of rows at a time, so that ingests never wait for long."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, literal_column, select, update

from llm_one_api.stores.ledger.engine import clock, reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.quarters import ends_in
from llm_one_api.stores.ledger.rollups import QUARTERS
from llm_one_api.stores.ledger.sums import HOUR, hour_of
from llm_one_api.stores.ledger.tables import cursors, ledger_seq, records
from llm_one_api.values import Value

_r = records.c


class Place(Value, frozen=True, kw_only=True):
    """How far a consumer is, and since when nobody has heard of it."""

    consumer: str
    seq: int
    silent: float
    """Seconds, by the database's clock."""


class Deleted(Value, frozen=True, kw_only=True):
    """What a step has deleted."""

    rows: int
    newest: datetime | None
    """Up to when it has looked: the next step's `since`; None: there was nothing to delete."""


class Retention:
    """Deletes on one engine."""

    def __init__(self, engine: Engine) -> None:
        """Keep it."""
        self._engine = engine
        self._reading = reading(engine)
        now: Any = literal_column(str(clock(engine)))
        self._places = select(cursors.c.consumer, cursors.c.seq, (now - cursors.c.seen_at).label("silent"))

    def places(self) -> list[Place]:
        """Tell where all consumers are that there ever were."""
        with self._reading.connect() as connection:
            rows = connection.execute(self._places).all()
        return [Place(consumer=row.consumer, seq=row.seq, silent=float(row.silent)) for row in rows]

    def next_after(self, place: int) -> datetime | None:
        """Tell when the first record after *place* was admitted; None: there is none."""
        asked = select(_r.at).where(_r.seq > place).order_by(_r.seq).limit(1)
        with self._reading.connect() as connection:
            at: datetime | None = connection.execute(asked).scalar()
        return at

    def delete_records(
        self, before: datetime, upto: int, *, since: datetime | None = None, limit: int = 1000
    ) -> Deleted:
        """Delete up to *limit* records admitted before *before*, the oldest first, but none after place *upto*.

        Those admitted before *since* were looked at by the step before. That records of an hour were deleted is noted
        with the deletion, by whole hours: from then on none of it comes in again.
        """
        asked = select(_r.seq, _r.at).where(_r.at < before, _r.seq <= upto).order_by(_r.at).limit(limit)
        if since is not None:
            asked = asked.where(_r.at >= since)
        with self._reading.connect() as connection:  # the looking is done before others have to wait
            found = connection.execute(asked).all()
        if not found:
            return Deleted(rows=0, newest=None)
        newest: datetime = found[-1].at
        with self._engine.begin() as connection:
            lock(connection)
            gone = connection.execute(delete(records).where(_r.seq.in_([row.seq for row in found]))).rowcount
            noted: datetime | None = connection.execute(select(ledger_seq.c.deleted_before)).scalar_one()
            until = hour_of(newest) + HOUR
            connection.execute(
                update(ledger_seq).values(
                    deleted=ledger_seq.c.deleted + gone, deleted_before=until if noted is None else max(noted, until)
                )
            )
        return Deleted(rows=gone, newest=newest)

    def delete_quarters(self, before: datetime, *, since: datetime | None = None) -> Deleted:
        """Delete the sums by quarters of the oldest hour, from *since* on, if it is over before *before*.

        Those of hours in which a closed day or month begins or ends stay.
        """
        with self._reading.connect() as connection:
            hour = _oldest(connection, before, since)
            while hour + HOUR <= before and ends_in(connection, hour):
                hour = _oldest(connection, before, hour + HOUR)
        if hour + HOUR > before:
            return Deleted(rows=0, newest=None)
        with self._engine.begin() as connection:
            lock(connection)
            if ends_in(connection, hour):  # closed meanwhile
                return Deleted(rows=0, newest=hour + HOUR)
            rows = sum(
                connection.execute(delete(table).where(table.c.slot >= hour, table.c.slot < hour + HOUR)).rowcount
                for table in QUARTERS
            )
            noted: datetime | None = connection.execute(select(ledger_seq.c.quarters_since)).scalar_one()
            since = hour + HOUR if noted is None else max(noted, hour + HOUR)
            connection.execute(update(ledger_seq).values(quarters_since=since))
        return Deleted(rows=rows, newest=hour + HOUR)


def _oldest(connection: Connection, before: datetime, since: datetime | None) -> datetime:
    """Give the first hour from *since* on that has sums by quarters; that of *before*: there is none."""
    slots = []
    for table in QUARTERS:
        asked = select(func.min(table.c.slot)).where(table.c.slot < before)
        slots.append(connection.execute(asked if since is None else asked.where(table.c.slot >= since)).scalar())
    return hour_of(min((slot for slot in slots if slot is not None), default=before))
