"""Costs in the ledger: which calls have none though their usage is known, and how they are given one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, Engine, and_, bindparam, func, or_, select, update

from llm_one_api.stores.ledger.engine import reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.rollups import Rollups
from llm_one_api.stores.ledger.rows import Kept, to_record
from llm_one_api.stores.ledger.sums import COLUMNS, Sums
from llm_one_api.stores.ledger.tables import records
from llm_one_api.stores.ledger.taken_back import TakenBack
from llm_one_api.values import UsageRecord, Value

_r = records.c
_GROUPS = (_r.response_model, _r.upstream_model, _r.model, _r.service_tier, _r.upstream)

USAGE_IS_KNOWN: ColumnElement[bool] = _r.usage_source != "none"
UNPRICED: ColumnElement[bool] = and_(USAGE_IS_KNOWN, _r.cost.is_(None))
"""The calls that ought to have a cost, and have none."""


class Unpriced(Value, frozen=True, kw_only=True):
    """Calls without a cost whose price would be the same."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    first: datetime
    newest: UsageRecord
    """One of them, for what they have in common."""


class Change(Value, frozen=True, kw_only=True):
    """What becomes of the cost of one call."""

    seq: int
    before: Decimal | None
    """What it must be now; where it is something else by now, it stays."""
    cost: Decimal
    price_source: str
    price_date: date | None


class Prices:
    """Reads and changes costs, a bounded number of calls at a time, so that nobody waits for long."""

    def __init__(self, engine: Engine, rollups: Rollups, taken_back: TakenBack) -> None:
        """Keep all three, and the statement that changes."""
        self._engine = engine
        self._rollups = rollups
        self._taken_back = taken_back
        self._reading = reading(engine)
        self._change = (
            update(records)
            .where(_r.seq == bindparam("place"))
            .values(cost=bindparam("money"), price_source=bindparam("source"), price_date=bindparam("day"))
        )

    def missing(self, since: datetime | None = None) -> list[Unpriced]:
        """Tell of which models calls have no cost though their usage is known, those with the most calls first."""
        asked = (
            select(
                func.count().label("calls"),
                func.coalesce(func.sum(_r.prompt_tokens), 0).label("prompt_tokens"),
                func.coalesce(func.sum(_r.completion_tokens), 0).label("completion_tokens"),
                func.min(_r.at).label("first"),
                func.max(_r.seq).label("newest"),
            )
            .where(UNPRICED)
            .group_by(*_GROUPS)
            .order_by(func.count().desc(), func.max(_r.seq))
        )
        if since is not None:
            asked = asked.where(_r.at >= since)
        with self._reading.begin() as connection:
            groups = connection.execute(asked).all()
            return [
                Unpriced(
                    calls=group.calls,
                    prompt_tokens=int(group.prompt_tokens),
                    completion_tokens=int(group.completion_tokens),
                    first=group.first,
                    newest=to_record(connection.execute(select(records).where(_r.seq == group.newest)).one()),
                )
                for group in groups
            ]

    def page(
        self, since: datetime, until: datetime, *, after: Kept | None = None, limit: int = 500, priced: bool = False
    ) -> list[Kept]:
        """Give the next calls admitted from *since* until before *until*, in that order, whose usage is known.

        Only those without a cost, unless *priced*. *after* is the last of the page before.
        """
        asked = select(records).where(_r.at < until, USAGE_IS_KNOWN if priced else UNPRICED)
        if after is None:
            asked = asked.where(_r.at >= since)
        else:
            at = after.record.at
            asked = asked.where(_r.at >= at, or_(_r.at > at, _r.seq > after.seq))
        with self._reading.connect() as connection:
            rows = connection.execute(asked.order_by(_r.at, _r.seq).limit(limit)).all()
        return [Kept(seq=row[0], record=to_record(row)) for row in rows]

    def change(self, changes: Sequence[Change]) -> set[int]:
        """Make *changes* in one transaction, in which all that sums up costs is corrected too; give whose were made."""
        if not changes:
            return set()
        asked = select(_r.seq, *(_r[name] for name in COLUMNS)).where(_r.seq.in_([each.seq for each in changes]))
        with self._engine.begin() as connection:
            lock(connection)
            now = {row["seq"]: row for row in connection.execute(asked).mappings()}
            made = [c for c in changes if c.seq in now and now[c.seq]["cost"] == c.before]
            if made:
                connection.execute(
                    self._change,
                    [{"place": c.seq, "money": c.cost, "source": c.price_source, "day": c.price_date} for c in made],
                )
                sums = Sums()
                for each in made:
                    sums.give_cost(now[each.seq], each.cost)
                self._rollups.add(connection, sums)
                self._taken_back.add(connection, [(now[each.seq], each.cost) for each in made])
        return {change.seq for change in made}
