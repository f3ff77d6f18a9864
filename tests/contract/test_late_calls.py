"""Calls that come in for days that are closed: a few are added to them, a backlog opens them for a while."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select
from uuid_utils import uuid7

from llm_one_api.stores.ledger.analysis import Question
from llm_one_api.stores.ledger.closing import BACKLOG, Period
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.stores.ledger.rollup_tables import closed_periods, latencies_day
from llm_one_api.values import UsageRecord
from tests.harness.records import record

UTC_ZONE, KOLKATA = ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALWAYS = (datetime(1970, 1, 3, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC))
MARCH = [Period("day", FIRST + n * DAY, FIRST + (n + 1) * DAY) for n in range(31)]
WHOLE_MARCH = Period("month", FIRST, FIRST + 31 * DAY)


def calls(at: Iterable[datetime], model: str = "m", *, duration: float = 2.0) -> list[UsageRecord]:
    return [record(1, request_id=str(uuid7()), at=each, model=model, duration=duration) for each in at]


def close(ledger: Ledger, zone: ZoneInfo = UTC_ZONE, until: datetime = FIRST + 31 * DAY) -> None:
    assert all(ledger.closing.close(period) for period in ledger.closing.due(zone, until))


def closed(ledger: Ledger) -> set[Period]:
    with ledger._engine.connect() as connection:
        return {Period(*row) for row in connection.execute(select(closed_periods))}


def agree(ledger: Ledger) -> bool:
    return not [*ledger.closing.differences(*ALWAYS)] and not [*ledger.rollups.differences(*ALWAYS)]


def test_a_few_late_calls_are_added_to_the_closed_day_and_month(ledger: Ledger) -> None:
    ledger.ingest([*calls([FIRST, FIRST + HOUR]), *calls([FIRST], "other")])
    close(ledger)

    ledger.ingest([*calls([FIRST, FIRST + 9 * HOUR], duration=9.0), *calls([FIRST + HOUR], "new")])

    assert closed(ledger) == {*MARCH, WHOLE_MARCH}
    assert agree(ledger)
    with ledger._engine.connect() as connection:
        kept: Sequence[str] = connection.execute(select(latencies_day.c.model).distinct()).scalars().all()
    assert set(kept) == {"m", "other", "new"}


def test_a_backlog_opens_its_days_and_their_month_and_no_others(ledger: Ledger) -> None:
    ledger.ingest(calls([FIRST, FIRST + DAY, FIRST + 2 * DAY]))
    close(ledger)

    ledger.ingest(calls([FIRST + DAY + n * timedelta(minutes=1) for n in range(BACKLOG)] + [FIRST + 2 * DAY]))
    opened = {*MARCH, WHOLE_MARCH} - closed(ledger)
    agreed = agree(ledger)
    question = Question(since=FIRST, until=FIRST + 31 * DAY, zone=UTC_ZONE, bucket="day", exact=True)
    before = [row.sums.requests for row in ledger.analysis.ask(question)]
    close(ledger)

    assert opened == {MARCH[1], WHOLE_MARCH}
    assert agreed
    assert before[:3] == [1, 1 + BACKLOG, 2]
    assert [row.sums.requests for row in ledger.analysis.ask(question)] == before
    assert closed(ledger) == {*MARCH, WHOLE_MARCH}
    assert agree(ledger)


@pytest.mark.parametrize("retention", [True, False], ids=["quarters gone", "quarters there"])
def test_a_backlog_opens_no_day_whose_quarters_are_kept_because_it_is_closed(ledger: Ledger, retention: bool) -> None:
    border = FIRST + DAY + 18.75 * HOUR  # a quarter past midnight in India
    ledger.ingest(calls([border, border + DAY, FIRST + 4 * DAY]))
    close(ledger, KOLKATA, FIRST + 4 * DAY)
    before = closed(ledger)
    since = None
    while retention and (gone := ledger.retention.delete_quarters(FIRST + 9 * DAY, since=since)).newest:
        since = gone.newest

    ledger.ingest(calls([border + HOUR] * BACKLOG))

    assert closed(ledger) == before
    assert [*ledger.closing.differences(*ALWAYS)] == []


def test_prices_that_are_given_later_open_nothing(ledger: Ledger) -> None:
    late = [record(n, at=FIRST + n * timedelta(minutes=1), cost=None) for n in range(1, 2 * BACKLOG)]
    ledger.ingest(late)
    close(ledger)

    ledger.prices.change([
        Change(seq=seq, before=None, cost=Decimal("0.25"), price_source="configured", price_date=None)
        for seq in range(1, 2 * BACKLOG)
    ])  # fmt: skip

    assert closed(ledger) == {*MARCH, WHOLE_MARCH}
    assert agree(ledger)


def test_a_day_that_is_opened_while_days_are_compared_is_left_out(ledger: Ledger) -> None:
    ledger.ingest(calls([FIRST + n * DAY for n in range(3)]))
    close(ledger)
    with ledger._engine.begin() as connection:
        first = select(func.min(latencies_day.c.slot)).scalar_subquery()
        connection.execute(latencies_day.update().where(latencies_day.c.slot == first).values(calls='{"7":1}'))

    comparing = ledger.closing.differences(FIRST, FIRST + 3 * DAY)
    found = [next(comparing)]
    ledger.ingest(calls([FIRST + 2 * DAY] * BACKLOG))
    found += comparing

    assert {each.slot for each in found} == {FIRST}
