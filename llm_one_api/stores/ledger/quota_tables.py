"""What quotas were charged, and what operators and the quota check have done about them: little, so kept for good."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from llm_one_api.stores.ledger.tables import Moment, metadata

quota_sums = Table(
    "quota_sums",
    metadata,
    Column("span", String(40), primary_key=True, doc="The window's name without its scope: `day:2026-11-24`"),
    Column("window", Text, primary_key=True, doc="`user:alice:day:2026-11-24`"),
    Column("tokens", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("nanos", BigInteger, nullable=False, doc="1e-9 USD"),
    sqlite_with_rowid=False,
)
"""What the records come to that are charged to each window: a row grows in the transaction that inserts them."""

quota_resets = Table(
    "quota_resets",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("window", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("nanos", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
"""What operators have taken off windows. Always: booked = `quota_sums` - these."""

quota_boosts = Table(
    "quota_boosts",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("period", String(8), primary_key=True),
    Column("unit", String(8), primary_key=True),
    Column("amount", BigInteger, nullable=False, doc="Tokens, requests, or 1e-9 USD"),
    Column("until", Moment, nullable=False),
    Column("at", Moment, nullable=False),
)
"""What operators have added to limits for a time."""

quota_crossings = Table(
    "quota_crossings",
    metadata,
    Column("window", Text, primary_key=True),
    Column("unit", String(8), primary_key=True),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
)
"""What was announced: that so much of a limit was used."""
