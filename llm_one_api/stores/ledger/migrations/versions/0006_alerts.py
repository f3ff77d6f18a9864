"""Alerts: their states, what happened, what was sent where, and who is silent."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=postgres)
    identity = sa.BigInteger() if postgres else sa.Integer()

    op.create_table(
        "alerts",
        sa.Column("rule", sa.String(100), primary_key=True),
        sa.Column("group", sa.Text, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("told", sa.String(16)),
        sa.Column("told_at", moment),
    )
    op.create_table(
        "alert_events",
        sa.Column("id", identity, primary_key=True, autoincrement=True),
        sa.Column("uid", sa.String(40), nullable=False, unique=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(100), nullable=False),
        sa.Column("group", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("withheld", sa.String(16)),
    )
    op.create_index("alert_events_at", "alert_events", ["at"])
    op.create_table(
        "alert_deliveries",
        sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.String(100), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("done_at", moment),
    )
    op.create_index("alert_deliveries_state", "alert_deliveries", ["state"])
    op.create_table(
        "alert_silences",
        sa.Column("rule", sa.String(100), primary_key=True),
        sa.Column("until", moment, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
    )
    op.create_table(
        "alert_turns",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
    )
