"""Which sums an answer is made of: whatever is closed, each quarter of the time counts once, and in its bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.stores.ledger.analysis.covering import Kept, Periods
from llm_one_api.stores.ledger.analysis.plan import Part, plan
from llm_one_api.stores.ledger.analysis.questions import Question
from llm_one_api.stores.ledger.slots import CALENDRIC, Quarters, periods
from llm_one_api.stores.ledger.sums import HOUR, QUARTER

BEGIN = datetime(2028, 3, 1, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
KOLKATA = ZoneInfo("Asia/Kolkata")
NAMES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Adelaide", "Pacific/Auckland")
ZONES = st.sampled_from([ZoneInfo(name) for name in NAMES])


def kept(zone: ZoneInfo, days: int, *, besides: Collection[int] = (), months: bool = True) -> Kept:
    """Close *days* days from March on, but for those numbered *besides*, and the months that are past then."""
    end = BEGIN + days * DAY
    day, month = (
        {since: until for since, until in periods(zone, level, BEGIN, end) if since >= BEGIN and until <= end}
        for level in CALENDRIC
    )
    closed = {since: until for number, (since, until) in enumerate(day.items()) if number not in besides}
    return Kept(Quarters(None), None, {"day": Periods(closed), "month": Periods(month if months else {})})


def counted(parts: list[Part], sums: Kept, unit: timedelta = QUARTER) -> dict[tuple[datetime, datetime | None], int]:
    """Tell how often each quarter, or *unit*, counts, and in which bucket."""
    found: Counter[tuple[datetime, datetime | None]] = Counter()
    for part in parts:
        assert part.places is not None
        for slot, end in _slots(part, sums):
            for bucket, sign in part.places[slot if part.by_slot else None]:
                for number in range((end - slot) // unit):
                    found[slot + number * unit, bucket] += sign
    return {place: times for place, times in found.items() if times}


def _slots(part: Part, sums: Kept) -> list[tuple[datetime, datetime]]:
    if part.level == "records":
        return [(part.since, part.until)]
    if part.level in {"day", "month"}:
        slots = [each for each in sums.closed[part.level].ends.items() if part.since <= each[0] < part.until]
    else:
        length = HOUR if part.level == "hour" else QUARTER
        first, last = (-((BEGIN - at) // length) for at in (part.since, part.until))  # it counts where it begins
        slots = [(BEGIN + number * length, BEGIN + (number + 1) * length) for number in range(first, last)]
    return [each for each in slots if part.only is None or each[0] in part.only]


@given(
    sums=st.builds(
        kept, ZONES, st.integers(0, 70), besides=st.sets(st.integers(0, 70), max_size=6), months=st.booleans()
    ),
    zone=ZONES,
    bucket=st.sampled_from([None, "day", "month"]),
    since=st.integers(-10 * 96, 60 * 96),
    length=st.integers(1, 50 * 96),
)
def test_each_quarter_counts_once_and_no_other_does(
    sums: Kept, zone: ZoneInfo, bucket: Any, since: int, length: int
) -> None:
    begin = BEGIN + since * QUARTER
    question = Question(since=begin, until=begin + length * QUARTER, zone=zone, bucket=bucket)

    found = counted(plan(question, sums), sums)

    quarters = [begin + number * QUARTER for number in range(length)]
    assert found == {(at, bucket and periods(zone, bucket, at, at)[0][0]): 1 for at in quarters}


@given(
    sums=st.builds(kept, ZONES, st.integers(0, 5), months=st.just(False)),
    quarters_since=st.none() | st.integers(0, 5 * 24),
    deleted_before=st.none() | st.integers(0, 5 * 24 * 60),
    since=st.integers(-60, 4 * 24 * 60),
    length=st.integers(1, 30 * 60),
    bucket=st.sampled_from([None, "day"]),
)
def test_ends_within_a_slot_are_exact_where_their_records_are_there_and_nothing_counts_twice(
    sums: Kept, quarters_since: int | None, deleted_before: int | None, since: int, length: int, bucket: Any
) -> None:
    sums = sums._replace(
        quarters=Quarters(None if quarters_since is None else BEGIN + quarters_since * HOUR),
        deleted_before=None if deleted_before is None else BEGIN + deleted_before * MINUTE,
    )
    begin = BEGIN + since * MINUTE
    question = Question(since=begin, until=begin + length * MINUTE, zone=KOLKATA, bucket=bucket, exact=True)

    found = counted(plan(question, sums), sums, MINUTE)

    assert {*found.values()} <= {1}
    if deleted_before is None:
        assert {minute for minute, _ in found} == {begin + number * MINUTE for number in range(length)}


def test_days_of_another_zone_are_made_of_closed_days_and_the_hours_that_both_are_apart() -> None:
    sums = kept(ZoneInfo("UTC"), 31)
    new_york = ZoneInfo("America/New_York")  # five hours behind, and four from the 12th on
    question = Question(since=BEGIN + 5 * HOUR, until=BEGIN + 29 * DAY + 4 * HOUR, zone=new_york, bucket="day")

    parts = plan(question, sums)

    hours = [slot for part in parts if part.level == "hour" for slot, _ in _slots(part, sums)]
    assert len({*hours}) == len(hours) == 12 * 5 + 18 * 4  # each is read once, for the day before and the one behind
    assert [(part.level, part.until - part.since) for part in parts if part.level != "hour"] == [("day", 29 * DAY)]


def test_a_month_that_has_most_of_the_time_counts_less_its_other_days() -> None:
    sums = kept(ZoneInfo("UTC"), 31)
    question = Question(since=BEGIN + 2 * DAY, until=BEGIN + 30 * DAY + 20 * HOUR, zone=ZoneInfo("UTC"))

    parts = plan(question, sums)

    assert {part.level: (part.until - part.since, part.places) for part in parts} == {
        "month": (31 * DAY, {BEGIN: ((None, 1),)}),
        "day": (2 * DAY, {None: [(None, -1)]}),
        "hour": (4 * HOUR, {None: [(None, -1)]}),
    }


def test_where_quarters_are_gone_a_day_that_ends_between_hours_takes_nothing_away() -> None:
    old = kept(KOLKATA, 31)._replace(quarters=Quarters(BEGIN + 60 * DAY))
    question = Question(since=BEGIN + 2 * DAY, until=BEGIN + 3 * DAY, zone=ZoneInfo("UTC"))

    assert [(part.level, part.until - part.since) for part in plan(question, old)] == [("hour", DAY)]
