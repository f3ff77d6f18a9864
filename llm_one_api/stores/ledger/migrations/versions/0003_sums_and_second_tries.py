"""Sums by quarters and hours, dead letters, runs of periodic jobs, and what retention has deleted.

The sums of the calls that are there already are made by `schema.upgrade` after the last migration, with the code as it
is then: they are derived.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_USAGE = (
    "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_tokens",
    "image_output_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens", "images",
)  # fmt: skip
_COUNTS = (
    "requests", "attempts", "sdk_retries", *_USAGE, "with_prompt_tokens", "with_completion_tokens", "with_tokens",
    "estimated", "partial", "audio_us", "duration_us", "with_duration", "ttft_us", "with_ttft", "priced", "unpriced",
    "cost_micros", "cost_picos",
)  # fmt: skip


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=postgres)
    identity = sa.BigInteger() if postgres else sa.Integer()

    op.add_column("ledger_seq", sa.Column("deleted", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("ledger_seq", sa.Column("deleted_before", moment))
    op.add_column("cursors", sa.Column("in_hand", sa.BigInteger))
    op.add_column("cursors", sa.Column("refusals", sa.Integer, nullable=False, server_default="0"))
    op.add_column("cursors", sa.Column("deaths", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "dead_letters",
        sa.Column("id", identity, primary_key=True, autoincrement=True),
        sa.Column("consumer", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.UniqueConstraint("consumer", "seq"),
    )
    op.create_table(
        "job_runs",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("period", moment, primary_key=True),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("ok", sa.Boolean),
        sa.Column("result", sa.Text),
    )
    for name in ("rollups_quarter", "rollups_hour"):
        op.create_table(
            name,
            sa.Column("slot", moment, primary_key=True),
            *_dimensions("user", "key", "model", "endpoint", "stream", "outcome", "upstream"),
            *[sa.Column(figure, sa.BigInteger, nullable=False) for figure in _COUNTS],
            sqlite_with_rowid=False,
        )
    for name in ("latencies_quarter", "latencies_hour"):
        op.create_table(
            name,
            sa.Column("slot", moment, primary_key=True),
            *_dimensions("model", "endpoint", "stream", "upstream"),
            sa.Column("kind", sa.String(8), primary_key=True),
            sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("calls", sa.BigInteger, nullable=False),
            sqlite_with_rowid=False,
        )


def _dimensions(*names: str) -> list[sa.Column[Any]]:
    kinds: dict[str, Any] = {"stream": sa.Boolean(), "outcome": sa.String(32)}
    return [sa.Column(name, kinds.get(name) or sa.Text(), primary_key=True) for name in names]
