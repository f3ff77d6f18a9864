"""What calls of a short stretch of time cost, by the records: for what is left of a quarter of an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Engine, func, select

from llm_one_api.stores.ledger.tables import records


class Costs:
    """Adds it up in the database: of a quarter there may be a million records."""

    def __init__(self, reading: Engine) -> None:
        """Read over *reading*, an engine for transactions that write nothing."""
        self._reading = reading

    def of(
        self, since: datetime, until: datetime, group_by: Sequence[str], where: Mapping[str, Sequence[str]]
    ) -> dict[tuple[str, ...], Decimal]:
        """Give USD by group, of the calls admitted from *since* until before *until* that have a cost."""
        columns = {name: func.coalesce(records.c[name], "") for name in {*group_by, *where}}
        apart = [columns[name].label(f"by_{number}") for number, name in enumerate(group_by)]
        asked = select(*apart, func.sum(records.c.cost)).where(
            records.c.at >= since,
            records.c.at < until,
            records.c.cost.is_not(None),
            *(columns[name].in_(values) for name, values in where.items()),
        )
        if apart:
            asked = asked.group_by(*apart)
        with self._reading.connect() as connection:
            rows = connection.execute(asked).all()
        return {tuple(row[:-1]): row[-1] for row in rows if row[-1] is not None}
