"""States of alerts, what happened, and who is silent; whoever has the turn changes them, and nobody else.

What is to be sent where stands in the same transaction: `alert_mail.py` has the rest of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection, Engine, bindparam, delete, insert, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger.alert_costs import Costs
from llm_one_api.stores.ledger.alert_mail import Mail
from llm_one_api.stores.ledger.alert_tables import (
    alert_deliveries,
    alert_events,
    alert_silences,
    alert_turns,
    alerts,
)
from llm_one_api.stores.ledger.engine import clock, reading
from llm_one_api.values import Value

State = Literal["pending", "firing", "resolved"]
Kind = Literal["firing", "resolved", "repeat", "test"]
Withheld = Literal["silence", "cooldown", "untold"]
"""Why nobody is told. `untold`: that it ended, for nobody was told that it began."""

_a, _e, _d, _s, _t = alerts.c, alert_events.c, alert_deliveries.c, alert_silences.c, alert_turns.c
_CHECK = "check"


class Alert(Value, frozen=True, kw_only=True):
    """What is known of one rule and group."""

    rule: str
    group: str
    """As JSON; `{}`: the rule tells nothing apart."""
    state: State
    since: datetime
    """When that state began."""
    seen_at: datetime
    """When its figure was known last."""
    value: Decimal | None = None
    told: State | None = None
    """The state that was told last."""
    told_at: datetime | None = None
    """When it was last told as firing."""


class Event(Value, frozen=True, kw_only=True):
    """Something that happened to an alert."""

    kind: Kind
    rule: str
    group: str
    at: datetime
    data: str
    """What is told, as JSON."""
    withheld: Withheld | None = None
    channels: Sequence[str] = ()
    """Who is told."""


class Turn(Value, frozen=True, kw_only=True):
    """The right to look at the rules, for a while."""

    fence: int
    now: datetime
    """When it began, by the database's clock."""


class Silence(Value, frozen=True, kw_only=True):
    """A rule of which nothing is told."""

    rule: str
    until: datetime
    reason: str
    at: datetime


class Alerts:
    """All of them. Turns go by the database's clock, the one that all processes share."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine, and the statements."""
        self._engine = engine
        self._reading = reading(engine)
        self.mail = Mail(engine)
        self.costs = Costs(self._reading)
        self._now: Any = literal_column(str(clock(engine)))
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        now = self._now
        self._first = (
            self._insert(alert_turns)
            .values(name=_CHECK, fence=0, lease_until=0.0, begun_at=0.0)
            .on_conflict_do_nothing(index_elements=["name"])
        )
        self._claim = (
            update(alert_turns)
            .where(
                _t.name == _CHECK,
                # A clock that was ahead, and is put right, holds up nobody.
                or_(_t.lease_until < now, _t.begun_at > now),
                or_(_t.begun_at <= now - bindparam("apart"), _t.begun_at > now),
            )
            .values(fence=_t.fence + 1, lease_until=now + bindparam("seconds"), begun_at=now)
            .returning(_t.fence, _t.begun_at)
        )
        self._end = (
            update(alert_turns)
            .where(_t.name == _CHECK, _t.fence == bindparam("nth"), _t.lease_until > 0.0)
            .values(lease_until=0.0)
        )

    # -- turns --

    def now(self) -> datetime:
        """Tell the time, by the database's clock."""
        with self._reading.connect() as connection:
            return datetime.fromtimestamp(float(connection.execute(select(self._now)).scalar_one()), UTC)

    def claim(self, seconds: float, apart: float) -> Turn | None:
        """Take the turn for *seconds*; None: another has it, or had it within the last *apart* seconds."""
        with self._engine.begin() as connection:
            connection.execute(self._first)
            row = connection.execute(self._claim, {"seconds": seconds, "apart": apart}).one_or_none()
        return None if row is None else Turn(fence=row.fence, now=datetime.fromtimestamp(row.begun_at, UTC))

    def release(self, turn: Turn) -> None:
        """End the turn with nothing to keep: it failed."""
        with self._engine.begin() as connection:
            connection.execute(self._end, {"nth": turn.fence})

    def finish(
        self, turn: Turn, changed: Sequence[Alert], gone: Collection[Alert], events: Sequence[Event]
    ) -> list[str] | None:
        """Keep what came of the turn, all or nothing, and end it; gives the names of *events*.

        None: it was overtaken, and nothing is kept.
        """
        with self._engine.begin() as connection:
            if connection.execute(self._end, {"nth": turn.fence}).rowcount != 1:
                return None
            for alert in gone:
                connection.execute(delete(alerts).where(_a.rule == alert.rule, _a.group == alert.group))
            for alert in changed:
                self._keep(connection, alert)
            return [_add(connection, event) for event in events]

    def _keep(self, connection: Connection, alert: Alert) -> None:
        values = {
            "state": alert.state,
            "since": alert.since,
            "seen_at": alert.seen_at,
            "value": None if alert.value is None else f"{alert.value:f}",
            "told": alert.told,
            "told_at": alert.told_at,
        }
        row = self._insert(alerts).values(rule=alert.rule, group=alert.group, **values)
        connection.execute(row.on_conflict_do_update(index_elements=["rule", "group"], set_=values))

    def add(self, event: Event) -> str:
        """Keep an event that is nobody's turn, such as a test; gives its name."""
        with self._engine.begin() as connection:
            return _add(connection, event)

    # -- what there is --

    def all(self) -> list[Alert]:
        """Give all alerts, by rule and group."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(alerts).order_by(_a.rule, _a.group)).mappings().all()
        return [Alert(**{**row, "value": None if row["value"] is None else Decimal(row["value"])}) for row in rows]

    def checked_at(self) -> datetime | None:
        """Tell when somebody looked at the rules last; None: nobody ever did."""
        with self._reading.connect() as connection:
            begun = connection.execute(select(_t.begun_at).where(_t.name == _CHECK)).scalar()
        return datetime.fromtimestamp(begun, UTC) if begun else None

    # -- silence --

    def silences(self) -> dict[str, Silence]:
        """Give all silences by rule, also those that are over."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(alert_silences).order_by(_s.rule)).mappings().all()
        return {row["rule"]: Silence(**row) for row in rows}

    def silence(self, rule: str, until: datetime, reason: str) -> None:
        """Have nothing told of *rule* until *until*, in place of what was said before."""
        values = {"until": until, "reason": reason, "at": datetime.now(UTC)}
        row = self._insert(alert_silences).values(rule=rule, **values)
        with self._engine.begin() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["rule"], set_=values))

    def unsilence(self, rule: str) -> bool:
        """Have *rule* told of again; False: it was not silent."""
        with self._engine.begin() as connection:
            return connection.execute(delete(alert_silences).where(_s.rule == rule)).rowcount > 0

    # -- the past --

    def prune(self, before: datetime) -> int:
        """Forget what happened before *before*, and what was sent of it; tell how much there was."""
        old = select(_e.id).where(_e.at < before)
        with self._engine.begin() as connection:
            connection.execute(delete(alert_deliveries).where(_d.event.in_(old)))
            return connection.execute(delete(alert_events).where(_e.at < before)).rowcount


def _add(connection: Connection, event: Event) -> str:
    uid = uuid4().hex
    row = {
        "uid": uid,
        "at": event.at,
        "kind": event.kind,
        "rule": event.rule,
        "group": event.group,
        "data": event.data,
        "withheld": event.withheld,
    }
    [number] = connection.execute(insert(alert_events).values(row).returning(_e.id)).scalars()
    for channel in event.channels:
        first = {"event": number, "channel": channel, "state": "waiting", "tries": 0, "due_at": 0.0}
        connection.execute(insert(alert_deliveries).values(first))
    return uid
