"""The ledger's tables, as they are now; how they came to be so is in `migrations/`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

DOLLAR = 10**12
"""SQLite has no decimals, so it keeps money as whole numbers of 1e-12 USD."""


class Money(TypeDecorator[Decimal]):
    """US dollars, exact to twelve places on both databases."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use NUMERIC where there is one."""
        return dialect.type_descriptor(Numeric(24, 12) if dialect.name == "postgresql" else BigInteger())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Store it."""
        if value is None:
            return None
        whole = int((value * DOLLAR).to_integral_value())
        # Rounded here too, to even: PostgreSQL would round away from zero, and sums would differ from their records.
        return Decimal(whole) / DOLLAR if dialect.name == "postgresql" else whole

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Read it."""
        if value is None or dialect.name == "postgresql":
            return value  # type: ignore[no-any-return]
        return Decimal(value) / DOLLAR


class Moment(TypeDecorator[datetime]):
    """An aware time in UTC, to the microsecond; SQLite keeps it as text that sorts."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use a time with a zone where there is one."""
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store it."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's)
        """Read it."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)  # type: ignore[no-any-return]


metadata = MetaData()

USAGE_COLUMNS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_tokens",
    "image_output_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens", "images",
)  # fmt: skip
"""The whole-number fields of `Usage`, each a column of its own."""

records = Table(
    "records",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("at", Moment, nullable=False),
    Column("model", Text, nullable=False),
    Column("upstream_model", Text),
    Column("response_model", Text),
    Column("service_tier", Text),
    Column("user", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("group", Text),
    Column("end_user", Text),
    Column("tags", Text, nullable=False, doc="JSON"),
    Column("client_request_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("finish_reason", Text),
    Column("provider_request_id", Text),
    Column("upstream", Text),
    Column("attempts", Text, nullable=False, doc="JSON"),
    Column("duration", Float),
    Column("ttft", Float),
    *[Column(name, BigInteger) for name in USAGE_COLUMNS],
    Column("audio_seconds", Float),
    Column("usage_source", String(16), nullable=False),
    Column("usage_raw", Text, doc="JSON"),
    Column("usage_faults", Text, nullable=False, server_default="[]", doc="JSON"),
    Column("output_tokens_per_second", Float),
    Column("sdk_retry_count", Integer),
    Column("cost", Money),
    Column("price_source", String(16)),
    Column("price_date", Date),
    Column("quota_tokens", BigInteger),
    Column("quota_cost", Money),
    Column("quota_windows", Text, doc="JSON; null: it is charged to none"),
    Index("records_at", "at"),
    Index("records_key_at", "key", "at"),
)
"""One row a call. `seq` is its place: without gaps, in the order of commits."""

ledger_seq = Table(
    "ledger_seq",
    metadata,
    Column("n", BigInteger, nullable=False, doc="The last `seq` given"),
    Column("deleted", BigInteger, nullable=False, server_default="0", doc="How many records retention has deleted"),
    Column("deleted_before", Moment, doc="What was admitted before may have been deleted: it never comes in again"),
    Column("quarters_since", Moment, doc="Sums by quarters from before are deleted; none: no quarter was"),
    Column("layout", Integer, nullable=False, server_default="1", doc="Whoever knows another one may not write"),
)
"""One row. Its lock puts the ingests in a row. Always: n = number of records + deleted."""

refused_records = Table(
    "refused_records",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("request_id", Text, nullable=False, unique=True, doc="The record's, or a digest of a line that has none"),
    Column("reason", Text, nullable=False),
    Column("line", Text, nullable=False, doc="The record, as JSON in ASCII"),
    Column("at", Moment, nullable=False),
)
"""What came and could not be kept, with the reason: nothing is dropped in silence."""

cursors = Table(
    "cursors",
    metadata,
    Column("consumer", String(200), primary_key=True),
    Column("seq", BigInteger, nullable=False, doc="The last record delivered"),
    Column("since", BigInteger, nullable=False, doc="The record after which the present run began"),
    Column("fence", BigInteger, nullable=False, doc="Grows with each lease: an old holder cannot move the cursor"),
    Column("owner", Text),
    Column("lease_until", Float, nullable=False, doc="By the database's clock, as are the others"),
    Column("failures", Integer, nullable=False),
    Column("retry_at", Float, nullable=False),
    Column("error", Text),
    Column("seen_at", Float, nullable=False),
    Column("in_hand", BigInteger, doc="The record that the plugin has just been given, where that is noted"),
    Column("refusals", Integer, nullable=False, server_default="0", doc="How often in a row the next was refused"),
    Column("deaths", Integer, nullable=False, server_default="0", doc="How often the process ended with it in hand"),
)
"""How far each plugin has come."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("consumer", String(200), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("line", Text, nullable=False, doc="The record, as JSON in ASCII: it outlives the record's own row"),
    Column("at", Moment, nullable=False),
    UniqueConstraint("consumer", "seq"),
)
"""Records that a plugin refused again and again: set aside with the reason, to be replayed or dropped."""

job_runs = Table(
    "job_runs",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("period", Moment, primary_key=True, doc="The begin of what it is about, such as a day"),
    Column("lease_until", Float, nullable=False, doc="By the database's clock: whose process died is taken up again"),
    Column("tries", Integer, nullable=False),
    Column("started_at", Moment, doc="When it was first begun"),
    Column("seconds", Float, doc="That were worked on it, in all tries"),
    Column("finished_at", Moment),
    Column("ok", Boolean),
    Column("result", Text, doc="JSON"),
)
"""One row for each period of each periodic job: who makes it does the work, however often the clock strikes."""
