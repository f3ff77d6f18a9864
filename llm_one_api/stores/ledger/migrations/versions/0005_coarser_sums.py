"""Sums without who called, and sums by days and months; since when sums by quarters are there.

What is without callers is added up here from the sums that are there. Days and months are closed one by one by the
workers (`closing.py`), the newest first: until then they are read from the hours. To add up takes seconds for a million
rows, in which readers go on: only then `ledger_seq` is altered.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

from llm_one_api.stores.ledger.migrations.waiting import alter, shut_writers_out

revision = "0005"
down_revision = "0004"
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
_CALLERS = ("user", "key", "model", "endpoint", "stream", "outcome", "upstream")
_LAST_WITHOUT = """
SELECT MAX(hours.slot) FROM (SELECT slot, SUM(requests) AS calls FROM traffic_hour GROUP BY slot) AS hours
LEFT JOIN (SELECT {hour} AS slot, SUM(requests) AS calls FROM traffic_quarter GROUP BY 1) AS quarters
ON quarters.slot = hours.slot WHERE quarters.calls IS NULL OR quarters.calls <> hours.calls
"""
_TRAFFIC = ("model", "endpoint", "stream", "outcome", "upstream")


def upgrade() -> None:
    """Make them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=postgres)

    shut_writers_out()
    op.create_table(
        "closed_periods",
        sa.Column("level", sa.String(8), primary_key=True),
        sa.Column("since", moment, primary_key=True),
        sa.Column("until", moment, nullable=False),
    )
    for level in ("quarter", "hour", "day", "month"):
        sums: list[tuple[str, tuple[str, ...]]] = [(f"traffic_{level}", _TRAFFIC)]
        if level in {"day", "month"}:
            sums.append((f"rollups_{level}", _CALLERS))
            op.create_table(
                f"latencies_{level}",
                sa.Column("slot", moment, primary_key=True),
                *_dimensions("model", "endpoint", "stream", "upstream"),
                sa.Column("kind", sa.String(8), primary_key=True),
                sa.Column("calls", sa.Text, nullable=False),
                sqlite_with_rowid=False,
            )
        for name, dimensions in sums:
            op.create_table(
                name,
                sa.Column("slot", moment, primary_key=True),
                *_dimensions(*dimensions),
                *[sa.Column(figure, sa.BigInteger, nullable=False) for figure in _COUNTS],
                sqlite_with_rowid=False,
            )
    op.create_table(
        "latencies_day_hours",
        sa.Column("slot", moment, primary_key=True),
        *_dimensions("model"),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("hours", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    for level in ("quarter", "hour"):
        _leave_out_callers(f"rollups_{level}", f"traffic_{level}")
    since = _since_when_there_are_quarters(postgres=postgres)

    def note() -> None:
        if postgres:  # 0007 alters it: who gave way there would free that table alone, and keep this one
            op.execute("LOCK TABLE job_runs")
        op.add_column("ledger_seq", sa.Column("quarters_since", moment))
        op.execute(sa.update(sa.table("ledger_seq", sa.column("quarters_since", moment))).values(quarters_since=since))

    alter(note)


def _dimensions(*names: str) -> list[sa.Column[Any]]:
    kinds: dict[str, Any] = {"stream": sa.Boolean(), "outcome": sa.String(32)}
    return [sa.Column(name, kinds.get(name) or sa.Text(), primary_key=True) for name in names]


def _leave_out_callers(source: str, target: str) -> None:
    by = ", ".join(("slot", *_TRAFFIC))
    sums = ", ".join(f"SUM({name})" for name in _COUNTS)
    into = f"INSERT INTO {target} ({by}, {', '.join(_COUNTS)})"
    op.execute(f"{into} SELECT {by}, {sums} FROM {source} GROUP BY {by}")  # noqa: S608 (names of our own)


def _since_when_there_are_quarters(*, postgres: bool) -> datetime | None:
    """Find the last hour of which quarters are missing: they are deleted sooner than hours. None: none are."""
    hour = "date_trunc('hour', slot, 'UTC')" if postgres else "substr(slot, 1, 13) || ':00:00.000000'"
    last = op.get_bind().exec_driver_sql(_LAST_WITHOUT.format(hour=hour)).scalar()
    if last is None:
        return None
    return (last if isinstance(last, datetime) else datetime.fromisoformat(last)) + timedelta(hours=1)
