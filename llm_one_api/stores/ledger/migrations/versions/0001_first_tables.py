"""The first tables: records, ledger_seq, refused_records, cursors.

Written out and not taken from `tables.py`: a migration says what was, whatever becomes of the tables later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=postgres)
    money = sa.Numeric(24, 12) if postgres else sa.BigInteger()
    identity = sa.BigInteger() if postgres else sa.Integer()

    op.create_table(
        "records",
        sa.Column("seq", identity, primary_key=True, autoincrement=False),
        sa.Column("request_id", sa.String(64), nullable=False, unique=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.Text),
        sa.Column("response_model", sa.Text),
        sa.Column("service_tier", sa.Text),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("group", sa.Text),
        sa.Column("end_user", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("client_request_id", sa.Text),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("finish_reason", sa.Text),
        sa.Column("provider_request_id", sa.Text),
        sa.Column("upstream", sa.Text),
        sa.Column("attempts", sa.Text, nullable=False),
        sa.Column("duration", sa.Float),
        sa.Column("ttft", sa.Float),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("total_tokens", sa.BigInteger),
        sa.Column("cache_read_tokens", sa.BigInteger),
        sa.Column("cache_write_5m_tokens", sa.BigInteger),
        sa.Column("cache_write_1h_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("audio_input_tokens", sa.BigInteger),
        sa.Column("audio_output_tokens", sa.BigInteger),
        sa.Column("image_tokens", sa.BigInteger),
        sa.Column("accepted_prediction_tokens", sa.BigInteger),
        sa.Column("rejected_prediction_tokens", sa.BigInteger),
        sa.Column("images", sa.BigInteger),
        sa.Column("audio_seconds", sa.Float),
        sa.Column("usage_source", sa.String(16), nullable=False),
        sa.Column("usage_raw", sa.Text),
        sa.Column("cost", money),
        sa.Column("quota_tokens", sa.BigInteger),
        sa.Column("quota_cost", money),
    )
    op.create_index("records_at", "records", ["at"])
    op.create_index("records_key_at", "records", ["key", "at"])

    op.create_table("ledger_seq", sa.Column("n", sa.BigInteger, nullable=False))
    op.execute("INSERT INTO ledger_seq (n) VALUES (0)")

    op.create_table(
        "refused_records",
        sa.Column("id", identity, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.Text, nullable=False, unique=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
    )

    op.create_table(
        "cursors",
        sa.Column("consumer", sa.String(200), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
