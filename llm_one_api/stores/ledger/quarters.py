"""Which sums by quarters are there, after retention has deleted most of them.

It leaves those of hours in which a closed day or month begins or ends, as they do where a zone is half an hour beside
the others: without them such an hour would count on one side, though its other half is in the closed day beside it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, and_, func, or_, select

from llm_one_api.stores.ledger.rollup_tables import closed_periods, traffic_hour, traffic_quarter
from llm_one_api.stores.ledger.slots import Quarters, hour_from
from llm_one_api.stores.ledger.sums import HOUR, hour_of
from llm_one_api.stores.ledger.tables import ledger_seq

_p = closed_periods.c


def quarters_there(connection: Connection, since: datetime, until: datetime) -> Quarters:
    """Tell of which hours from that of *since* to that of *until* there are sums by quarters."""
    from_then_on: datetime | None = connection.execute(select(ledger_seq.c.quarters_since)).scalar_one()
    begin = hour_of(since)
    if from_then_on is None or begin >= from_then_on:
        return Quarters(from_then_on)
    end = min(hour_from(until), from_then_on)
    left: dict[datetime, int] = {}
    for slot, calls in _calls(connection, traffic_quarter, begin, end):
        left[hour_of(slot)] = left.get(hour_of(slot), 0) + calls
    if not left:
        return Quarters(from_then_on)
    whole = dict(_calls(connection, traffic_hour, min(left), max(left) + HOUR))
    # A late call brings back a part of what was deleted.
    return Quarters(from_then_on, frozenset(hour for hour, calls in left.items() if whole.get(hour) == calls))


def ends_in(connection: Connection, hour: datetime) -> bool:
    """Tell whether a closed day or month begins or ends within *hour*."""
    within = [and_(column > hour, column < hour + HOUR) for column in (_p.since, _p.until)]
    return connection.execute(select(_p.level).where(or_(*within)).limit(1)).scalar() is not None


def _calls(connection: Connection, table: Table, since: datetime, until: datetime) -> list[tuple[datetime, int]]:
    slot = table.c.slot
    asked = select(slot, func.sum(table.c.requests)).where(slot >= since, slot < until).group_by(slot)
    return [(each, int(calls)) for each, calls in connection.execute(asked)]
