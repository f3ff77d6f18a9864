"""Where a record's figures come from: its price, what is wrong with its usage, how fast and how often it was tried."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; older records have nothing in them."""
    op.add_column("records", sa.Column("usage_faults", sa.Text, nullable=False, server_default="[]"))
    op.add_column("records", sa.Column("image_output_tokens", sa.BigInteger))
    op.add_column("records", sa.Column("output_tokens_per_second", sa.Float))
    op.add_column("records", sa.Column("sdk_retry_count", sa.Integer))
    op.add_column("records", sa.Column("price_source", sa.String(16)))
    op.add_column("records", sa.Column("price_date", sa.Date))
