"""By how much the sums ever fell because a call was given another cost: with it, they never do.

Whoever counts up from the sums (Prometheus takes a counter that falls for one that began at 0 anew) adds this to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, Table, Text, select
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger.rollup_tables import DIMENSIONS
from llm_one_api.stores.ledger.sums import MILLION, Row, key_of, units
from llm_one_api.stores.ledger.tables import metadata
from llm_one_api.values import Value

_AMOUNTS = ("unpriced", "cost_micros", "cost_picos")
_DIMENSIONS = ("user", "model", "upstream")
_BY = [DIMENSIONS.index(name) + 1 for name in _DIMENSIONS]

taken_back = Table(
    "taken_back",
    metadata,
    Column("user", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("upstream", Text, primary_key=True, doc="Empty: there was none"),
    *[Column(name, BigInteger, nullable=False) for name in _AMOUNTS],
)
"""One row for each user, model and upstream of which calls were priced again. `unpriced`: calls that had no cost when
they were counted and have one now. The costs: by how much those of calls were lowered, as sums have them."""


class Back(Value, frozen=True, kw_only=True):
    """What was taken back of a user, a model and an upstream, ever."""

    user: str
    model: str
    upstream: str
    unpriced: int
    cost: Decimal


class TakenBack:
    """Reads and adds to it."""

    def __init__(self, engine: Engine) -> None:
        """Make the statement."""
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        adding: Any = insert(taken_back)
        self._add = adding.on_conflict_do_update(
            index_elements=list(_DIMENSIONS),
            set_={name: taken_back.c[name] + adding.excluded[name] for name in _AMOUNTS},
        )

    def add(self, connection: Connection, changes: Iterable[tuple[Row, Decimal]]) -> None:
        """Note, in the transaction of *connection*, that calls (rows of `records`) are given other costs."""
        sums: dict[tuple[str, ...], list[int]] = {}
        for row, cost in changes:
            key = key_of(row)
            back = sums.setdefault(tuple([key[place] for place in _BY]), [0, 0])
            if row["cost"] is None:
                back[0] += row["usage_source"] != "none"
            else:
                back[1] += max(0, units(row["cost"]) - units(cost))
        rows = [
            dict(zip((*_DIMENSIONS, *_AMOUNTS), (*key, calls, *divmod(cost, MILLION)), strict=True))
            for key, (calls, cost) in sums.items()
            if calls or cost
        ]
        if rows:
            connection.execute(self._add, rows)

    def all(self, moment: Connection) -> list[Back]:
        """Give all of it, as it is at *moment*, at which the sums are read too."""
        found = moment.execute(select(taken_back)).all()
        return [
            Back(
                user=row.user,
                model=row.model,
                upstream=row.upstream,
                unpriced=row.unpriced,
                cost=Decimal(row.cost_micros * MILLION + row.cost_picos).scaleb(-12),
            )
            for row in found
        ]
