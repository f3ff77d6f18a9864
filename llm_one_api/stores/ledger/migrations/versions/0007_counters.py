"""How long jobs took, and what was taken back of costs: for counters that never fall."""

import sqlalchemy as sa
from alembic import op

from llm_one_api.stores.ledger.migrations.waiting import alter

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "taken_back",
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("upstream", sa.Text, primary_key=True),
        sa.Column("unpriced", sa.BigInteger, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sa.Column("cost_picos", sa.BigInteger, nullable=False),
    )

    def time_jobs() -> None:
        op.add_column("job_runs", sa.Column("started_at", sa.DateTime(timezone=postgres)))
        op.add_column("job_runs", sa.Column("seconds", sa.Float))

    alter(time_jobs)
