"""What the statistics show in sum, on SQLite and on PostgreSQL: exact at both ends, and read as sums between."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update
from uuid_utils import uuid7

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.tables import ledger_seq, records
from llm_one_api.values import UsageRecord
from tests.harness.records import record as example

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)


def record(minutes: float, **changes: Any) -> UsageRecord:
    return example(**{"request_id": str(uuid7()), "at": AT + timedelta(minutes=minutes), **changes})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(since=st.integers(-10, 260), length=st.integers(0, 260))
def test_every_window_tells_what_was_in_it(ledger: Ledger, since: int, length: int) -> None:
    minutes = [0, 1, 14, 15, 29, 44.999, 45, 59, 60, 61, 119, 120, 121, 150, 180, 239, 240]
    if ledger.last_seq() == 0:
        outcomes = ["success", "timeout", "rejected"]
        ledger.ingest([
            record(at, outcome=outcomes[n % 3], stream=n % 2 == 0, key=f"key_{n % 2}", cost=Decimal(f"0.0000{n:02}"))
            for n, at in enumerate(minutes)
        ])  # fmt: skip
    begin, end = AT + timedelta(minutes=since), AT + timedelta(minutes=since + length)

    found = ledger.summary(begin, end)
    own = ledger.summary(begin, end, "key_1")

    within = [(n, at) for n, at in enumerate(minutes) if since <= at < since + length]
    assert sum(stats.requests for stats in found) == len(within)
    assert sum(stats.requests for stats in own) == sum(n % 2 for n, _ in within)
    if within:
        [stats] = found
        assert stats.cost == sum(Decimal(f"0.0000{n:02}") for n, _ in within)
        assert stats.streams == sum(n % 2 == 0 for n, _ in within)
        assert stats.outcomes == Counter(["success", "timeout", "rejected"][n % 3] for n, _ in within)
        assert (stats.total_tokens, stats.duration) == (170 * len(within), 2.5 * len(within))
        assert (stats.avg_duration, stats.avg_ttft, stats.avg_tokens) == (2.5, 0.25, 170.0)


def test_where_records_are_deleted_the_hour_counts_in_which_the_end_lies(ledger: Ledger) -> None:
    ledger.ingest([record(minutes) for minutes in (10, 50, 70, 130)])
    with ledger._engine.begin() as connection:
        connection.execute(delete(records).where(records.c.at < AT + timedelta(hours=1)))
        connection.execute(update(ledger_seq).values(deleted=2, deleted_before=AT + timedelta(hours=1)))

    def requests(since: int, until: int) -> int:
        found = ledger.summary(AT + timedelta(minutes=since), AT + timedelta(minutes=until))
        return sum(stats.requests for stats in found)

    assert requests(30, 140) == 4
    assert requests(5, 20) == 2
    assert requests(65, 140) == 2


@pytest.mark.parametrize("late", [False, True])
def test_where_quarters_are_no_longer_kept_the_records_tell_it(ledger: Ledger, late: bool) -> None:
    ledger.ingest([record(minutes) for minutes in (5, 20, 40, 50, 70)])
    ledger.retention.delete_quarters(AT + timedelta(hours=1))
    if late:
        ledger.ingest([record(35)])

    # From half past, as a day begins in Kolkata.
    [stats] = ledger.summary(AT + timedelta(minutes=30), AT + timedelta(minutes=90))

    assert stats.requests == 3 + late


@pytest.mark.parametrize("until", [30, 60])
def test_a_credit_is_told_from_records_as_from_sums(ledger: Ledger, until: int) -> None:
    ledger.ingest([record(20, cost=Decimal("-0.0000015"))])

    [stats] = ledger.summary(AT + timedelta(minutes=1), AT + timedelta(minutes=until, seconds=-1))

    assert stats.cost == Decimal("-0.0000015")


def test_models_that_there_are_not_are_one_in_sums_and_in_what_is_left_at_the_ends(ledger: Ledger) -> None:
    refused = {"outcome": "rejected", "error": "model_not_found", "usage_source": "none", "cost": None}
    ledger.ingest([record(minutes, model=f"m{minutes}", **refused) for minutes in (5, 70, 125)])

    found = ledger.summary(AT + timedelta(minutes=1), AT + timedelta(minutes=126))

    assert [(stats.model, stats.requests) for stats in found] == [("(unknown)", 3)]
