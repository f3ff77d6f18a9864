"""What is to be sent of alerts, and what came of it: each to each channel by one sender at a time.

Who takes a delivery has it for a while, by the database's clock. Whose process dies between sending it and noting that
is followed by another, who sends it again, under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Engine, bindparam, func, literal_column, or_, select, update

from llm_one_api.stores.ledger.alert_tables import alert_deliveries, alert_events
from llm_one_api.stores.ledger.cursors import storable
from llm_one_api.stores.ledger.engine import clock, reading
from llm_one_api.values import Value

Progress = Literal["waiting", "sent", "failed"]

_e, _d = alert_events.c, alert_deliveries.c
MOST = 2000
"""Where more wait, that channel is dead, and no other."""
_AHEAD = 7200.0
"""Seconds, more than any is put off: what is due so far in the future was so by a clock that was ahead."""


class Delivery(Value, frozen=True, kw_only=True):
    """Something to be told to one channel."""

    event: int
    channel: str
    uid: str
    """The name under which its receiver knows it."""
    at: datetime
    kind: str
    rule: str
    group: str
    data: str
    tries: int
    """How often it was taken; when it is taken: which try this is."""
    due: bool
    """Whether nobody has it, and its time has come."""


class Sent(Value, frozen=True, kw_only=True):
    """What came of a delivery."""

    channel: str
    state: Progress
    tries: int
    error: str | None
    done_at: datetime | None


class Happened(Value, frozen=True, kw_only=True):
    """An event of the past."""

    uid: str
    at: datetime
    kind: str
    rule: str
    group: str
    data: Mapping[str, Any]
    withheld: str | None
    sent: Sequence[Sent]


class Mail:
    """All deliveries."""

    def __init__(self, engine: Engine, most: int = MOST) -> None:
        """Keep the engine, and the statements; of each channel *most* deliveries are looked at in a turn."""
        self._engine = engine
        self._reading = reading(engine)
        now: Any = literal_column(str(clock(engine)))
        this = (_d.event == bindparam("which"), _d.channel == bindparam("to"), _d.state == "waiting")
        mine = (*this, _d.tries == bindparam("nth"))
        due = or_(_d.due_at <= now, _d.due_at > now + _AHEAD)
        place = func.row_number().over(partition_by=_d.channel, order_by=_d.event).label("place")
        ranked = select(_d.event, _d.channel, _d.tries, due.label("due"), place).where(_d.state == "waiting").subquery()
        self._waiting = (
            select(
                *(ranked.c.event, ranked.c.channel, ranked.c.tries, ranked.c.due),
                *(_e.uid, _e.at, _e.kind, _e.rule, _e.group, _e.data),
            )
            .join(alert_events, _e.id == ranked.c.event)
            .where(ranked.c.place <= most)
            .order_by(ranked.c.event, ranked.c.channel)
        )
        self._take = (
            update(alert_deliveries)
            .where(*mine, due)
            .values(tries=_d.tries + 1, due_at=now + bindparam("seconds"))
            .returning(_d.tries)
        )
        self._put_off = (
            update(alert_deliveries).where(*mine).values(due_at=now + bindparam("seconds"), error=bindparam("why"))
        )
        end: dict[str, Any] = {"state": bindparam("how"), "error": bindparam("why"), "done_at": bindparam("when")}
        self._end = update(alert_deliveries).where(*mine).values(end)

    def waiting(self) -> list[Delivery]:
        """Give what waits, the oldest first."""
        with self._reading.connect() as connection:
            rows = connection.execute(self._waiting).mappings().all()
        return [Delivery(**{**row, "due": bool(row["due"])}) for row in rows]

    def of(self, uid: str) -> list[Delivery]:
        """Give what waits of one event."""
        with self._reading.connect() as connection:
            rows = connection.execute(self._waiting.where(_e.uid == uid)).mappings().all()
        return [Delivery(**{**row, "due": bool(row["due"])}) for row in rows]

    def told(self, rule: str, group: str) -> list[str]:
        """Name the channels that were told last that an alert fires."""
        newest = (
            select(func.max(_e.id))
            .where(_e.rule == rule, _e.group == group, _e.kind.in_(("firing", "repeat")), _e.withheld.is_(None))
            .scalar_subquery()
        )
        asked = select(_d.channel).where(_d.event == newest).order_by(_d.channel)
        with self._reading.connect() as connection:
            return list(connection.execute(asked).scalars())

    def take(self, delivery: Delivery, seconds: float) -> Delivery | None:
        """Take it for *seconds*; None: it is not to be had."""
        wish = {"which": delivery.event, "to": delivery.channel, "nth": delivery.tries, "seconds": seconds}
        with self._engine.begin() as connection:
            tries = connection.execute(self._take, wish).scalar_one_or_none()
        return None if tries is None else msgspec.structs.replace(delivery, tries=tries)

    def sent(self, taken: Delivery) -> bool:
        """Note that it was sent; False: another has taken it meanwhile."""
        return self._do(self._end, taken, how="sent", why=None, when=datetime.now(UTC))

    def put_off(self, taken: Delivery, error: str, seconds: float) -> bool:
        """Let nobody take it for *seconds*, for it failed; False: another has taken it meanwhile."""
        return self._do(self._put_off, taken, why=storable(error), seconds=seconds)

    def give_up(self, taken: Delivery, error: str) -> bool:
        """Note that it will not be sent; False: another has taken it meanwhile."""
        return self._do(self._end, taken, how="failed", why=storable(error), when=datetime.now(UTC))

    def history(self, limit: int, rule: str | None = None) -> list[Happened]:
        """Give the newest events, of *rule* only if it is named, with what was sent of each."""
        asked = select(alert_events).order_by(_e.id.desc()).limit(limit)
        if rule is not None:
            asked = asked.where(_e.rule == rule)
        with self._reading.connect() as connection:
            events = connection.execute(asked).all()
            mine = [row.id for row in events]
            rows = connection.execute(select(alert_deliveries).where(_d.event.in_(mine)).order_by(_d.channel)).all()
        sent: dict[int, list[Sent]] = {}
        for row in rows:
            one = Sent(channel=row.channel, state=row.state, tries=row.tries, error=row.error, done_at=row.done_at)
            sent.setdefault(row.event, []).append(one)
        return [
            Happened(
                uid=row.uid,
                at=row.at,
                kind=row.kind,
                rule=row.rule,
                group=row.group,
                data=msgspec.json.decode(row.data),
                withheld=row.withheld,
                sent=sent.get(row.id, ()),
            )
            for row in events
        ]

    def _do(self, statement: Any, taken: Delivery, **values: Any) -> bool:
        named = {"which": taken.event, "to": taken.channel, "nth": taken.tries, **values}
        with self._engine.begin() as connection:
            return bool(connection.execute(statement, named).rowcount == 1)
