"""What alerts are, what was told of them to whom, and who is silent: little, and old history is deleted."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from llm_one_api.stores.ledger.tables import Moment, metadata

alerts = Table(
    "alerts",
    metadata,
    Column("rule", String(100), primary_key=True),
    Column("group", Text, primary_key=True, doc="JSON: the values by which the rule tells alerts apart"),
    Column("state", String(16), nullable=False),
    Column("since", Moment, nullable=False, doc="When that state began"),
    Column("seen_at", Moment, nullable=False, doc="When its figure was known last"),
    Column("value", Text, doc="The figure, a decimal number"),
    Column("told", String(16), doc="The state that was told last; null: none was"),
    Column("told_at", Moment, doc="When it was last told as firing"),
)
"""One row for each alert that is pending, fires, or was resolved lately."""

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("uid", String(40), nullable=False, unique=True, doc="What receivers know it by, however often it is sent"),
    Column("at", Moment, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("rule", String(100), nullable=False),
    Column("group", Text, nullable=False),
    Column("data", Text, nullable=False, doc="JSON: what is told"),
    Column("withheld", String(16), doc="`silence`, `cooldown`, `untold`: why nobody was told; null: its channels were"),
    Index("alert_events_at", "at"),
)
"""What happened: an alert began or ended, goes on, or was tried out."""

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("event", BigInteger, primary_key=True, autoincrement=False),
    Column("channel", String(100), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", Float, nullable=False, doc="By the database's clock: until then nobody (else) sends it"),
    Column("error", Text),
    Column("done_at", Moment),
    Index("alert_deliveries_state", "state"),
)
"""One row for each event and channel: who moves `due_at` on sends it."""

alert_silences = Table(
    "alert_silences",
    metadata,
    Column("rule", String(100), primary_key=True),
    Column("until", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
"""Rules of which nothing is told for a while."""

alert_turns = Table(
    "alert_turns",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("fence", BigInteger, nullable=False, doc="Grows with each turn: who was overtaken changes nothing"),
    Column("lease_until", Float, nullable=False, doc="By the database's clock, as the next"),
    Column("begun_at", Float, nullable=False),
)
"""One row: who has the right to look at the rules."""
