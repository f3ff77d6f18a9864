"""The ledger's sums in its tables: added to with each ingest, made anew from the records, compared with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, delete, func, select

from llm_one_api.stores.ledger.bulk import Adding
from llm_one_api.stores.ledger.closing import Closing
from llm_one_api.stores.ledger.comparing import Difference, compare
from llm_one_api.stores.ledger.engine import one_moment, reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.rollup_tables import (
    latencies_hour,
    latencies_quarter,
    rollups_hour,
    rollups_quarter,
    traffic_hour,
    traffic_quarter,
)
from llm_one_api.stores.ledger.sums import COLUMNS, HOUR, Rows, Sums, hour_of
from llm_one_api.stores.ledger.tables import ledger_seq, records

TABLES = (rollups_quarter, rollups_hour, traffic_quarter, traffic_hour, latencies_quarter, latencies_hour)
QUARTERS = (rollups_quarter, traffic_quarter, latencies_quarter)

_r = records.c
_PAGE = 2000


class Rollups:
    """Sums by quarters and by hours. What takes a connection is a part of that connection's transaction."""

    def __init__(self, engine: Engine, closing: Closing) -> None:
        """Keep the engine, and the statements; *closing* is what days and months are made by."""
        self._engine = engine
        self._closing = closing
        self._reading = reading(engine)
        self._add = {table: Adding(table, engine.dialect) for table in TABLES}

    def add(self, connection: Connection, sums: Sums) -> None:
        """Add *sums* to what is there."""
        for table, rows in sums.tables():
            self._add[table](connection, rows)
        self._closing.add(connection, sums)

    def differences(
        self, since: datetime, until: datetime, *, quarters_since: datetime | None = None
    ) -> Iterator[Difference]:
        """Compare the sums of the hours from *since* until before *until* with their records, an hour at a time.

        Each hour is read at one moment, so an ingest that runs at the same time makes no difference. Hours of which
        records may have been deleted are left out, and so are the quarters of those before *quarters_since*.
        """
        for hour in self._hours(since, until):
            with one_moment(self._reading) as connection:
                expected = dict(_sum_up(connection, hour).tables())
                for table in TABLES:
                    if table in QUARTERS and quarters_since is not None and hour < quarters_since:
                        continue
                    yield from compare(table, expected[table], _read(connection, table, hour))

    def rebuild(self, since: datetime, until: datetime) -> None:
        """Make the sums of the hours from *since* until before *until* anew from their records, an hour at a time.

        Hours of which records may have been deleted keep the sums that they have.
        """
        for hour in self._hours(since, until):
            with self._engine.begin() as connection:
                lock(connection)
                self._make_anew(connection, hour)

    def rebuild_all(self, connection: Connection) -> None:
        """Make all sums anew, from all records, in the transaction of *connection*."""
        for table in TABLES:
            connection.execute(delete(table))
        self._closing.reopen(connection)
        at = connection.execute(select(func.min(_r.at))).scalar()
        while at is not None:
            self.add(connection, _sum_up(connection, hour_of(at)))
            at = connection.execute(select(func.min(_r.at)).where(_r.at >= hour_of(at) + HOUR)).scalar()

    def _make_anew(self, connection: Connection, hour: datetime) -> None:
        for table in TABLES:
            connection.execute(_DELETE[table], _of(hour))
        self._closing.reopen(connection, hour, hour + HOUR)
        self.add(connection, _sum_up(connection, hour))

    def _hours(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Give the hours that have records or sums, and of which nothing was deleted."""
        with self._reading.connect() as connection:
            deleted_before = connection.execute(select(ledger_seq.c.deleted_before)).scalar_one()
        hour = hour_of(since)
        if deleted_before is not None and deleted_before > hour:
            hour = hour_of(deleted_before - timedelta(microseconds=1)) + HOUR
        while hour < until:
            with self._reading.connect() as connection:
                nexts = connection.execute(_NEXT, {"since": hour, "until": until}).one()
            found = [each for each in nexts if each is not None]
            if not found:
                return
            hour = hour_of(min(found))
            yield hour
            hour += HOUR


def _from_until(column: Any) -> tuple[Any, Any]:
    """Bound a column by parameters: to build these statements for each hour costs more than to execute them."""
    return column >= bindparam("since", type_=column.type), column < bindparam("until", type_=column.type)


_NEXT = select(*[
    select(func.min(column)).where(*_from_until(column)).scalar_subquery()
    for column in (_r.at, *[table.c.slot for table in TABLES])
])  # fmt: skip
_RECORDS = select(_r.seq, *[_r[name] for name in COLUMNS]).where(*_from_until(_r.at))
_SUMS = {table: select(table).where(*_from_until(table.c.slot)) for table in TABLES}
_DELETE = {table: delete(table).where(*_from_until(table.c.slot)) for table in TABLES}


def _sum_up(connection: Connection, hour: datetime) -> Sums:
    """Add up the records of an hour, a page at a time."""
    sums = Sums()
    with connection.execute(_RECORDS, _of(hour), execution_options={"yield_per": _PAGE}) as found:
        for row in found.mappings():
            sums.add(row)
    return sums


def _of(hour: datetime) -> dict[str, datetime]:
    return {"since": hour, "until": hour + HOUR}


def _read(connection: Connection, table: Table, hour: datetime) -> Rows:
    keys = len(table.primary_key.columns)
    return {tuple(row[:keys]): list(row[keys:]) for row in connection.execute(_SUMS[table], _of(hour))}
