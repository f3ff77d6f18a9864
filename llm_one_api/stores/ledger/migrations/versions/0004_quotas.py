"""Quotas: which windows a call is charged to, what windows come to, resets, boosts, and crossings that were announced.

Calls from before are charged to no window.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=postgres)
    identity = sa.BigInteger() if postgres else sa.Integer()

    op.add_column("records", sa.Column("quota_windows", sa.Text))
    op.create_table(
        "quota_sums",
        sa.Column("span", sa.String(40), primary_key=True),
        sa.Column("window", sa.Text, primary_key=True),
        *_amounts(),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota_resets",
        sa.Column("id", identity, primary_key=True, autoincrement=True),
        sa.Column("window", sa.Text, nullable=False),
        *_amounts(),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
    )
    op.create_table(
        "quota_boosts",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("period", sa.String(8), primary_key=True),
        sa.Column("unit", sa.String(8), primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("until", moment, nullable=False),
        sa.Column("at", moment, nullable=False),
    )
    op.create_table(
        "quota_crossings",
        sa.Column("window", sa.Text, primary_key=True),
        sa.Column("unit", sa.String(8), primary_key=True),
        sa.Column("percent", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", moment, nullable=False),
    )


def _amounts() -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in ("tokens", "requests", "nanos")]
