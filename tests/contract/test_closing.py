"""Days and months are closed, on SQLite and on PostgreSQL, and stay what their hours come to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select
from uuid_utils import uuid7

from llm_one_api.stores.ledger.analysis import NotAnswerable, Question
from llm_one_api.stores.ledger.closing import Period
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.stores.ledger.rollup_tables import latencies_day, rollups_day, rollups_month, traffic_day
from tests.harness.records import record

UTC_ZONE, KOLKATA = ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")
FIRST = datetime(2026, 2, 27, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALWAYS = (datetime(1970, 1, 3, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC))


def fill(ledger: Ledger, days: int = 3, at: datetime = FIRST) -> None:
    """Two calls a day."""
    ledger.ingest([
        record(n, request_id=str(uuid7()), at=at + n // 2 * DAY + n % 2 * 5 * HOUR) for n in range(2 * days)
    ])  # fmt: skip


def close(ledger: Ledger, until: datetime, zone: ZoneInfo = UTC_ZONE) -> list[Period]:
    """Close what is due of the days from FIRST on, and of the months."""
    due = [each for each in ledger.closing.due(zone, until) if each.level == "month" or each.until > FIRST]
    return [period for period in due if ledger.closing.close(period)]


def agree(ledger: Ledger) -> bool:
    return not [*ledger.closing.differences(*ALWAYS)] and not [*ledger.rollups.differences(*ALWAYS)]


def test_a_day_is_due_when_it_is_over_the_newest_first_and_months_come_last(ledger: Ledger) -> None:
    fill(ledger)

    before = ledger.closing.due(UTC_ZONE, FIRST + DAY - timedelta(microseconds=1))
    after = ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY)

    assert before[0] == Period("day", FIRST - DAY, FIRST)
    assert after[:2] == [
        Period("day", FIRST + 2 * DAY, FIRST + 3 * DAY),
        Period("day", FIRST + DAY, FIRST + 2 * DAY),
    ]
    assert after[-1] == Period("month", FIRST.replace(day=1), FIRST + 2 * DAY)


def test_a_month_is_closed_when_all_its_days_are(ledger: Ledger) -> None:
    fill(ledger)
    due = ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY)

    early = ledger.closing.close(due[-1])
    days = [ledger.closing.close(period) for period in due[:-1]]
    then = ledger.closing.close(due[-1])

    assert (early, all(days), then) == (False, True, True)
    assert ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY) == []
    assert agree(ledger)
    with ledger._engine.connect() as connection:
        found = connection.execute(select(rollups_month.c.slot, func.sum(rollups_month.c.requests)).group_by("slot"))
        assert [(slot, int(calls)) for slot, calls in found] == [(FIRST.replace(day=1), 4)]


def test_what_two_close_at_once_is_closed_once(ledger: Ledger) -> None:
    fill(ledger)
    [period, *_] = ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY)

    assert ledger.closing.close(period)
    assert ledger.closing.close(period)

    assert agree(ledger)


def test_a_day_that_overlaps_a_closed_one_is_not_closed_before_that_is_opened(ledger: Ledger) -> None:
    fill(ledger)
    close(ledger, FIRST + 3 * DAY)
    foreign = Period("day", FIRST - 5.5 * HOUR, FIRST + DAY - 5.5 * HOUR)

    refused = ledger.closing.close(foreign)
    due = ledger.closing.due(KOLKATA, FIRST + 3 * DAY)
    taken = ledger.closing.close(foreign)

    assert (refused, foreign in due, taken) == (False, True, True)
    assert agree(ledger)


def test_calls_that_come_in_while_days_are_closed_all_count(ledger: Ledger, url: str) -> None:
    fill(ledger, days=6)

    def ingest() -> None:
        mine = Ledger(url)
        for number in range(12):
            fill(mine, days=3, at=FIRST + number % 5 * HOUR)
        mine.close()

    thread = threading.Thread(target=ingest)
    thread.start()
    for period in ledger.closing.due(UTC_ZONE, FIRST + 6 * DAY):
        ledger.closing.close(period)
    thread.join()

    assert agree(ledger)
    with ledger._engine.connect() as connection:
        assert int(connection.execute(select(func.sum(traffic_day.c.requests))).scalar_one()) == 12 + 12 * 6


def test_a_price_given_later_is_in_days_and_months_too(ledger: Ledger) -> None:
    ledger.ingest([record(1, at=FIRST, cost=None), record(2, at=FIRST, cost=Decimal(1))])
    assert all(ledger.closing.close(period) for period in ledger.closing.due(UTC_ZONE, FIRST + 2 * DAY))
    costs = [(1, None), (2, Decimal(1))]

    ledger.prices.change([
        Change(seq=seq, before=before, cost=Decimal("0.25"), price_source="configured", price_date=None)
        for seq, before in costs
    ])  # fmt: skip

    assert agree(ledger)
    with ledger._engine.connect() as connection:
        [row] = connection.execute(select(rollups_month.c.cost_micros, rollups_month.c.unpriced)).all()
    assert tuple(row) == (500_000, 0)


def test_a_sum_of_a_day_or_a_month_that_was_changed_is_found_and_made_anew(ledger: Ledger) -> None:
    fill(ledger)
    for period in ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY):
        ledger.closing.close(period)

    for sql, table in (
        ("UPDATE rollups_day SET requests = requests + 1 WHERE slot = (SELECT min(slot) FROM rollups_day)", "rollups"),
        ("DELETE FROM traffic_day WHERE slot = (SELECT max(slot) FROM traffic_day)", "traffic"),
        ("UPDATE latencies_day SET calls = '{\"7\":1}' WHERE kind = 'ttft'", "latencies"),
        ("UPDATE latencies_day_hours SET hours = '{\"0\":{\"7\":1}}' WHERE kind = 'ttft'", "latencies"),
        ("UPDATE traffic_month SET cost_micros = 0", "traffic"),
        ("UPDATE latencies_month SET calls = '{}'", "latencies"),
    ):
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql(sql)

        found = [*ledger.closing.differences(*ALWAYS)]
        ledger.closing.close_anew({each.slot for each in found})

        assert {each.table.split("_")[0] for each in found} == {table}, sql
        assert agree(ledger), sql
        assert ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY) == [], sql


def test_hours_that_are_made_anew_open_their_day(ledger: Ledger) -> None:
    fill(ledger)
    close(ledger, FIRST + 3 * DAY)

    ledger.rollups.rebuild(FIRST, FIRST + HOUR)

    due = ledger.closing.due(UTC_ZONE, FIRST + 3 * DAY)
    assert Period("day", FIRST, FIRST + DAY) in due
    assert Period("day", FIRST + DAY, FIRST + 2 * DAY) not in due


def test_days_stay_when_quarters_are_deleted_and_quarters_are_asked_for_no_more(ledger: Ledger) -> None:
    fill(ledger)
    close(ledger, FIRST + 3 * DAY, KOLKATA)
    since = None
    while (gone := ledger.retention.delete_quarters(FIRST + 2 * DAY, since=since)).newest:
        since = gone.newest
    question = Question(since=FIRST, until=FIRST + DAY, zone=KOLKATA, bucket="15m")

    with pytest.raises(NotAnswerable, match="bucket=hour"):
        ledger.analysis.ask(question)

    days = Question(since=FIRST - 5.5 * HOUR, until=FIRST + 3 * DAY, zone=KOLKATA, bucket="day")
    assert [row.sums.requests for row in ledger.analysis.ask(days)] == [2, 2, 2]
    assert [*ledger.closing.differences(*ALWAYS)] == []


def test_a_ledger_without_calls_has_nothing_to_close(ledger: Ledger) -> None:
    assert ledger.closing.due(UTC_ZONE, FIRST) == []
    assert ledger.closing.count(*ALWAYS) == {"days": 0, "months": 0}


def test_closed_days_have_a_row_for_all_times_of_a_kind(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=FIRST + n * HOUR, duration=n / 10) for n in range(1, 20)])
    close(ledger, FIRST + DAY)

    with ledger._engine.connect() as connection:
        kinds: Sequence[str] = connection.execute(select(latencies_day.c.kind).order_by("kind")).scalars().all()
        rows = int(connection.execute(select(func.count()).select_from(rollups_day)).scalar_one())
    assert (kinds, rows) == (["duration", "ttft"], 1)


def test_a_call_counts_once_beside_days_that_end_within_an_hour_though_quarters_are_gone(ledger: Ledger) -> None:
    border = FIRST + DAY + 18.75 * HOUR  # a quarter past midnight in India
    ledger.ingest(
        [record(n, at=at) for n, at in enumerate([FIRST, border, border + HOUR, border + DAY, FIRST + 4 * DAY])]
    )
    for period in ledger.closing.due(KOLKATA, FIRST + 4 * DAY):
        ledger.closing.close(period)
    since = None
    while (gone := ledger.retention.delete_quarters(FIRST + 9 * DAY, since=since)).newest:
        since = gone.newest

    def told() -> tuple[int, int]:
        whole = Question(since=FIRST, until=FIRST + 9 * DAY, zone=UTC_ZONE, exact=True)
        ragged = Question(since=FIRST, until=FIRST + 2 * DAY, zone=UTC_ZONE, exact=True)
        rows = [ledger.analysis.ask(asked) for asked in (whole, ragged)]
        return rows[0][0].sums.requests, rows[1][0].sums.requests

    before = told()
    ledger.rollups.rebuild(border, border + HOUR)
    opened = told()
    for period in ledger.closing.due(KOLKATA, FIRST + 4 * DAY):
        ledger.closing.close(period)

    assert (before, opened, told()) == ((5, 3), (5, 3), (5, 3))
    assert sum(row.sums.requests for row in ledger.analysis.totals()) == 5
