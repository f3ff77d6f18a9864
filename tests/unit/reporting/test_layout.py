"""Rows are held by classes made for the order of their values, which callers choose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from zoneinfo import ZoneInfo

from llm_one_api.reporting import layout
from llm_one_api.stores.ledger.analysis.answers import Row, Sums
from llm_one_api.stores.ledger.analysis.questions import DIMENSIONS, Question

AT = datetime(2026, 11, 24, tzinfo=UTC)


def test_however_many_orders_are_asked_for_few_are_kept() -> None:
    for group_by in permutations(DIMENSIONS, 3):
        layout.of_rows(Question(since=AT, until=AT + timedelta(1), zone=ZoneInfo("UTC"), group_by=group_by))

    assert layout._held.cache_info().currsize <= 64


def test_an_hour_that_comes_twice_is_told_as_two() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    twice = [datetime(2026, 10, 25, hour, tzinfo=UTC).astimezone(berlin) for hour in (0, 1, 1)]
    laid_out = layout.of_rows(Question(since=AT, until=AT, zone=berlin, bucket="hour"))

    told = [laid_out(Row(bucket=at, group={}, sums=Sums(requests=1))).bucket for at in twice]

    assert told == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:00:00+01:00"]
