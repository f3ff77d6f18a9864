"""The ledger's sums, on SQLite and on PostgreSQL: what the records come to, whenever and however often they come."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, func, select, update
from uuid_utils import uuid7

from llm_one_api.stores.buckets import bucket_of
from llm_one_api.stores.ledger.comparing import Difference
from llm_one_api.stores.ledger.ingesting import TOO_OLD
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.stores.ledger.rollup_tables import (
    latencies_hour,
    latencies_quarter,
    rollups_hour,
    rollups_quarter,
)
from llm_one_api.stores.ledger.rollups import TABLES
from llm_one_api.stores.ledger.sums import UNKNOWN_MODEL
from llm_one_api.stores.ledger.tables import ledger_seq, records, refused_records
from llm_one_api.values import Attempt, Usage, UsageRecord
from tests.harness.records import record as example

AT = datetime(2026, 11, 24, 10, 20, tzinfo=UTC)
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def record(**changes: Any) -> UsageRecord:
    return example(**{"request_id": str(uuid7()), "at": AT, "price_source": "configured", **changes})


def rows(ledger: Ledger, table: Table) -> list[Any]:
    with ledger._engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.slot)).mappings())


def differences(ledger: Ledger) -> list[Difference]:
    return list(ledger.rollups.differences(*ALWAYS))


def test_what_is_summed_up_of_calls(ledger: Ledger) -> None:
    failed = Attempt(upstream="openai", status=500)
    ledger.ingest([
        record(attempts=(failed, failed), sdk_retry_count=2, ttft=None),
        record(usage=Usage(prompt_tokens=3, cache_read_tokens=2), usage_source="partial", cost=None, sdk_retry_count=0),
        record(usage=Usage(), usage_source="none", cost=None, duration=None, ttft=None),
        record(usage=Usage(completion_tokens=5, images=4, audio_seconds=1.5), usage_source="estimated", cost=Decimal()),
    ])  # fmt: skip

    [quarter] = rows(ledger, rollups_quarter)

    told = {name: figure for name, figure in quarter.items() if figure}
    assert told == {
        "slot": AT.replace(minute=15), "user": "sk-test-123", "key": "key_3f9a1c22", "model": "gpt-3.5-turbo",
        "endpoint": "chat", "outcome": "success", "upstream": "openai",
        "requests": 4, "attempts": 5, "sdk_retries": 1,
        "prompt_tokens": 53, "completion_tokens": 125, "total_tokens": 170, "cache_read_tokens": 2, "images": 4,
        "with_prompt_tokens": 2, "with_completion_tokens": 2, "with_tokens": 1, "estimated": 1, "partial": 1,
        "audio_us": 1_500_000, "duration_us": 7_500_000, "with_duration": 3, "ttft_us": 500_000, "with_ttft": 2,
        "priced": 2, "unpriced": 1, "cost_micros": 315,
    }  # fmt: skip


def test_calls_are_told_apart_by_their_dimensions_and_their_slot(ledger: Ledger) -> None:
    apart: list[dict[str, Any]] = [
        {}, {"user": "x"}, {"key": "x"}, {"model": "x"}, {"endpoint": "x"}, {"stream": True}, {"outcome": "timeout"},
        {"upstream": None}, {"at": AT.replace(minute=30)}, {"at": AT.replace(minute=14, second=59, microsecond=999999)},
        {"at": AT + timedelta(hours=1)},
    ]  # fmt: skip

    ledger.ingest([record(**changes) for changes in apart])

    assert [row["requests"] for row in rows(ledger, rollups_quarter)] == [1] * 11
    assert sorted(row["requests"] for row in rows(ledger, rollups_hour)) == [1] * 8 + [3]
    assert {row["upstream"] for row in rows(ledger, rollups_hour)} == {"openai", ""}


def test_times_are_counted_in_buckets_of_which_sums_give_true_percentiles(ledger: Ledger) -> None:
    times = [0.0, 0.000001, 0.25, 0.2501, 2.5, 900.0]

    ledger.ingest([record(duration=seconds, ttft=None) for seconds in times])
    ledger.ingest([record(duration=0.25, ttft=0.01)])

    found = {(row["kind"], row["bucket"]): row["calls"] for row in rows(ledger, latencies_hour)}
    assert found == {
        ("duration", 0): 2,
        ("duration", bucket_of(250_000)): 3,
        ("duration", bucket_of(2_500_000)): 1,
        ("duration", bucket_of(900_000_000)): 1,
        ("ttft", bucket_of(10_000)): 1,
    }
    assert len(rows(ledger, latencies_quarter)) == len(found)


def test_a_batch_that_comes_twice_adds_nothing(ledger: Ledger) -> None:
    batch = [record() for _ in range(3)]

    ledger.ingest([*batch, batch[0]])
    ledger.ingest([*batch, record(quota_tokens=2**63)])

    [hour] = rows(ledger, rollups_hour)
    assert (hour["requests"], hour["prompt_tokens"]) == (3, 150)
    assert differences(ledger) == []


def test_calls_that_name_no_model_there_is_do_not_fill_the_sums(ledger: Ledger) -> None:
    refused = {"outcome": "rejected", "error": "model_not_found", "upstream": None, "usage_source": "none"}

    ledger.ingest([record(model=f"m{n}", **refused) for n in range(5)])

    [hour] = rows(ledger, rollups_hour)
    assert (hour["model"], hour["requests"]) == (UNKNOWN_MODEL, 5)
    assert differences(ledger) == []


def test_a_late_record_goes_into_the_slot_in_which_it_was_admitted(ledger: Ledger) -> None:
    ledger.ingest([record(at=AT + timedelta(days=3))])

    ledger.ingest([record(), record(at=AT + timedelta(days=3))])

    assert [(row["slot"], row["requests"]) for row in rows(ledger, rollups_hour)] == [
        (AT.replace(minute=0), 1),
        (AT.replace(minute=0) + timedelta(days=3), 2),
    ]


def test_what_is_priced_later_or_anew_corrects_the_sums(ledger: Ledger) -> None:
    ledger.ingest([record(cost=None), record(cost=Decimal("0.000002")), record(cost=Decimal("0.5"))])
    costs = [(1, None, "0.25"), (2, "0.000002", "0.000000999999"), (3, "7", "8")]

    made = ledger.prices.change([
        Change(
            seq=seq, before=None if before is None else Decimal(before), cost=Decimal(cost),
            price_source="configured", price_date=None,
        )
        for seq, before, cost in costs
    ])  # fmt: skip

    assert made == {1, 2}
    assert differences(ledger) == []
    [hour] = rows(ledger, rollups_hour)
    assert hour["cost_micros"] * 10**6 + hour["cost_picos"] == 750_000_999_999
    assert (hour["priced"], hour["unpriced"]) == (3, 0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 200), st.sampled_from(["a", "b"]), st.none() | st.integers(0, 2**48),
            st.none() | st.decimals(0, 9_000_000, places=12), st.none() | st.floats(0, 1e6).map(lambda x: round(x, 6)),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_sums_are_what_the_records_come_to(ledger: Ledger, calls: list[Any]) -> None:
    ledger.ingest([
        record(
            at=AT + timedelta(minutes=minutes), model=model, cost=cost, duration=seconds, ttft=seconds,
            usage=Usage(prompt_tokens=tokens, completion_tokens=tokens, audio_seconds=seconds),
        )
        for minutes, model, tokens, cost, seconds in calls
    ])  # fmt: skip

    assert differences(ledger) == []


def test_a_cost_that_is_finer_than_the_ledger_is_rounded_once_for_records_and_sums(ledger: Ledger) -> None:
    ledger.ingest([record(cost=Decimal(cost)) for cost in ("0.0000000000005", "0.0000000000025", "-0.0000000000035")])

    costs = [kept.record.cost for kept in ledger.read(0, 10)]

    assert costs == [0, Decimal("2e-12"), Decimal("-4e-12")]
    assert differences(ledger) == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_sum_that_is_wrong_is_found_and_made_anew(ledger: Ledger, table: Table) -> None:
    ledger.ingest([record(), record(at=AT + timedelta(hours=5))])
    column = list(table.columns)[-1]
    with ledger._engine.begin() as connection:
        connection.execute(update(table).where(table.c.slot < AT).values({column.name: column + 1}))

    found = differences(ledger)
    ledger.rollups.rebuild(*ALWAYS)

    assert {(one.table, one.column, one.sums - one.records) for one in found} == {(table.name, column.name, 1)}
    assert {one.slot for one in found} <= {AT.replace(minute=0), AT.replace(minute=15)}
    assert differences(ledger) == []


def test_a_row_of_sums_that_is_missing_or_too_many_is_found(ledger: Ledger) -> None:
    ledger.ingest([record(), record(at=AT + timedelta(hours=5))])
    with ledger._engine.begin() as connection:
        connection.execute(delete(rollups_hour).where(rollups_hour.c.slot < AT))
        connection.execute(delete(records).where(records.c.at > AT))

    found = differences(ledger)

    requests = {(one.table, one.slot.hour, one.records, one.sums) for one in found if one.column == "requests"}
    too_many = ("rollups_hour", "rollups_quarter", "traffic_hour", "traffic_quarter")
    assert requests == {("rollups_hour", 10, 1, 0), *((table, 15, 0, 1) for table in too_many)}


def test_hours_of_which_records_were_deleted_keep_their_sums(ledger: Ledger) -> None:
    ledger.ingest([record(), record(at=AT + timedelta(hours=5))])
    with ledger._engine.begin() as connection:
        connection.execute(delete(records).where(records.c.at < AT + timedelta(hours=1)))
        connection.execute(update(ledger_seq).values(deleted=1, deleted_before=AT.replace(hour=11, minute=0)))

    ledger.rollups.rebuild(*ALWAYS)

    assert differences(ledger) == []
    assert [row["requests"] for row in rows(ledger, rollups_hour)] == [1, 1]


def test_a_record_older_than_those_that_were_deleted_is_set_aside(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(update(ledger_seq).values(deleted_before=AT))

    done = ledger.ingest([record(at=AT - timedelta(microseconds=1)), record()])

    [refused] = rows_of_refused(ledger)
    assert (done.new, done.refused) == (1, 1)
    assert refused.startswith(TOO_OLD)
    assert [row["requests"] for row in rows(ledger, rollups_hour)] == [1]


def rows_of_refused(ledger: Ledger) -> list[str]:
    with ledger._engine.connect() as connection:
        return list(connection.execute(select(refused_records.c.reason)).scalars())


def test_ingests_and_price_changes_at_the_same_time_all_count(ledger: Ledger, url: str) -> None:
    ledger.ingest([record(cost=None, model=f"m{n % 7}") for n in range(40)])

    def ingest() -> None:
        mine = Ledger(url)
        for number in range(8):
            mine.ingest([record(model=f"m{(n + number) % 7}") for n in range(5)])
        mine.close()

    def price() -> None:
        mine = Ledger(url)
        for seq in range(40, 0, -1):
            mine.prices.change([
                Change(seq=seq, before=None, cost=Decimal("0.1"), price_source="configured", price_date=None)
            ])  # fmt: skip
        mine.close()

    threads = [threading.Thread(target=work) for work in (ingest, ingest, price)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert differences(ledger) == []
    with ledger._engine.connect() as connection:
        found = connection.execute(select(func.sum(rollups_hour.c.requests), func.sum(rollups_hour.c.unpriced))).one()
    assert tuple(map(int, found)) == (120, 0)
