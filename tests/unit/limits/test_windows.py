"""Days and months, whatever a zone's clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.limits.rules import Period
from llm_one_api.limits.windows import Calendar, Window, name, parts, start_of

ZONES = [
    "UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Chatham",
    # A quarter, half an hour, and two hours' steps.
    "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca",
    # Clocks that change at midnight.
    "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "America/Havana", "America/Nuuk", "America/Asuncion",
    # Clocks that were set back a minute past midnight.
    "America/St_Johns",
    # Days that there never were, on either side of the date line.
    "Pacific/Apia", "Pacific/Fakaofo", "Pacific/Kiritimati",
]  # fmt: skip
BEGINNING, END = datetime(1994, 1, 1, tzinfo=UTC).timestamp(), datetime(2037, 12, 31, tzinfo=UTC).timestamp()


def calendar(zone: str) -> Calendar:
    return Calendar(ZoneInfo(zone))


def at(zone: str, *local: int, fold: int = 0) -> float:
    """Give the moment at which a clock in the zone shows so."""
    return datetime(*local, tzinfo=ZoneInfo(zone), fold=fold).timestamp()  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("zone", "moment", "day", "month"),
    [
        ("UTC", datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC), "2026-11-24", "2026-11"),
        ("UTC", datetime(2026, 12, 1, tzinfo=UTC), "2026-12-01", "2026-12"),
        ("Asia/Shanghai", datetime(2026, 11, 30, 16, 0, tzinfo=UTC), "2026-12-01", "2026-12"),
        ("Asia/Shanghai", datetime(2026, 11, 30, 15, 59, 59, tzinfo=UTC), "2026-11-30", "2026-11"),
        ("America/New_York", datetime(2027, 1, 1, 4, 59, 59, tzinfo=UTC), "2026-12-31", "2026-12"),
        ("UTC", datetime(2028, 2, 29, 12, tzinfo=UTC), "2028-02-29", "2028-02"),
        ("UTC", datetime(2027, 3, 1, tzinfo=UTC), "2027-03-01", "2027-03"),
    ],
)
def test_a_moment_is_in_the_day_and_month_that_a_clock_on_the_wall_shows(
    zone: str, moment: datetime, day: str, month: str
) -> None:
    now = moment.timestamp()

    assert calendar(zone).at("day", now).label == day
    assert calendar(zone).at("month", now).label == month


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", "2026-11-24", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Antarctica/Troll", "2026-03-29", 22),
        ("America/Sao_Paulo", "2018-11-04", 23),  # there is no midnight
        ("America/Sao_Paulo", "2018-02-17", 25),  # its last hour comes twice
        ("Asia/Beirut", "2026-03-29", 23),
        ("Asia/Beirut", "2026-10-24", 25),
        ("Africa/Cairo", "2026-04-24", 23),
        ("Africa/Cairo", "2026-10-29", 25),
        ("America/Havana", "2026-03-08", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Pacific/Apia", "2011-12-29", 24),
        ("Pacific/Apia", "2011-12-30", 0),  # Samoa went over the date line
        ("Pacific/Apia", "2011-12-31", 24),
        ("America/St_Johns", "2010-11-06", 24),
        ("America/St_Johns", "2010-11-07", 25),
    ],
)
def test_a_day_is_as_long_as_it_is_there(zone: str, day: str, hours: float) -> None:
    window = calendar(zone).named("day", day)

    assert window.end is not None
    assert window.end - window.start == hours * 3600


@pytest.mark.parametrize(
    ("month", "days"), [("2026-11", 30), ("2026-12", 31), ("2027-02", 28), ("2028-02", 29), ("2100-02", 28)]
)
def test_a_month_is_as_long_as_it_is(month: str, days: int) -> None:
    window = calendar("UTC").named("month", month)

    assert window.end is not None
    assert window.end - window.start == days * 86400


def test_a_day_without_midnight_begins_with_the_first_second_there_is() -> None:
    window = calendar("America/Sao_Paulo").named("day", "2018-11-04")

    assert window.start == at("America/Sao_Paulo", 2018, 11, 4, 1)
    assert calendar("America/Sao_Paulo").at("day", window.start - 1).label == "2018-11-03"


def test_a_clock_set_back_over_midnight_brings_no_day_back() -> None:
    zone = calendar("America/St_Johns")
    midnight = at("America/St_Johns", 2010, 11, 7, fold=0)

    labels = [zone.at("day", midnight + minutes * 60).label for minutes in range(-5, 125)]

    assert labels == ["2010-11-06"] * 5 + ["2010-11-07"] * 125


def test_an_hour_that_comes_twice_is_twice_in_its_day() -> None:
    first, second = at("Asia/Beirut", 2026, 10, 24, 23, 30), at("Asia/Beirut", 2026, 10, 24, 23, 30, fold=1)

    assert second - first == 3600
    assert calendar("Asia/Beirut").at("day", first) == calendar("Asia/Beirut").at("day", second)


def test_nobody_is_ever_in_a_day_that_there_was_not() -> None:
    zone = calendar("Pacific/Apia")
    start = zone.named("day", "2011-12-31").start

    assert [zone.at("day", start + second).label for second in (-1, 0)] == ["2011-12-29", "2011-12-31"]
    assert zone.at("month", start).label == "2011-12"


MOMENTS = st.floats(BEGINNING, END)


@given(st.sampled_from(ZONES), st.sampled_from(["day", "month"]), MOMENTS)
def test_every_moment_is_in_one_window_which_is_between_two_others(zone: str, period: Period, now: float) -> None:
    window = calendar(zone).at(period, now)

    assert window.end is not None
    assert window.start <= now < window.end
    for inside in (window.start, (window.start + window.end) / 2, window.end - 1):
        assert calendar(zone).at(period, inside) == window
    assert calendar(zone).at(period, window.end).start == window.end
    assert calendar(zone).at(period, window.start - 1).end == window.start
    assert calendar(zone).named(period, window.label) == window


@given(st.sampled_from(ZONES), MOMENTS)
def test_a_day_is_within_one_month(zone: str, now: float) -> None:
    day, month = calendar(zone).at("day", now), calendar(zone).at("month", now)

    assert day.end is not None
    assert month.end is not None
    assert month.start <= day.start < day.end <= month.end
    assert day.label.startswith(month.label)


@pytest.mark.parametrize("zone", ZONES)
def test_days_follow_each_other_without_a_gap(zone: str) -> None:
    days = [date(2011, 3, 1) + timedelta(days=n) for n in range(320)]

    windows = [calendar(zone).named("day", day.isoformat()) for day in days]

    assert all(one.end == following.start for one, following in pairwise(windows))
    assert all(one.end is not None and one.start <= one.end for one in windows)


@given(st.sampled_from(ZONES), st.dates(date(1994, 1, 2), date(2037, 12, 30)))
def test_a_days_first_second_is_the_first_that_shows_it_or_a_later_one(zone: str, day: date) -> None:
    start = start_of(ZoneInfo(zone), day)

    assert datetime.fromtimestamp(start, ZoneInfo(zone)).date() >= day
    assert datetime.fromtimestamp(start - 1, ZoneInfo(zone)).date() < day


def test_all_of_time_is_one_window() -> None:
    zone = calendar("Asia/Shanghai")

    assert zone.at("total", 0.0) == zone.at("total", 2e9) == zone.named("total", "ever") == Window("ever", 0.0, None)
    assert zone.end_of("all:total:ever") is None


@pytest.mark.parametrize(
    ("zone", "window", "end"),
    [
        ("Asia/Shanghai", "user:alice:day:2026-11-24", "2026-11-25T00:00:00+08:00"),
        ("Europe/Berlin", "all:month:2026-10", "2026-11-01T00:00:00+01:00"),
        ("America/Sao_Paulo", "key:key_3f9a1c22:day:2018-11-03", "2018-11-04T01:00:00-02:00"),
        ("UTC", "user:a:b:day:c:month:2026-12", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_a_window_says_in_its_zone_when_it_ends(zone: str, window: str, end: str) -> None:
    assert calendar(zone).end_of(window) == end


@given(st.text(max_size=30), st.sampled_from(["day", "month", "total"]))
def test_a_windows_name_can_be_taken_apart_whatever_a_user_is_called(user: str, period: Period) -> None:
    label = calendar("UTC").at(period, 1.8e9).label

    assert parts(name(f"user:{user}", period, label)) == (f"user:{user}", period, label)


@pytest.mark.parametrize("window", ["", "all", "day:2026-11-24", "user:alice:week:2026-48", "all:Day:2026-11-24"])
def test_what_names_no_window_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match="not a window"):
        parts(window)


@pytest.mark.parametrize(
    ("period", "label"),
    [
        ("day", "2026-02-30"), ("day", "2026-11"), ("day", "20261124"), ("day", "2026-W48-2"), ("day", "ever"),
        ("month", "2026-13"), ("month", "2026-11-24"), ("month", "2026"), ("month", "ever"),
        ("total", "2026"), ("total", ""),
    ],
)  # fmt: skip
def test_a_label_of_no_window_is_refused(period: Period, label: str) -> None:
    with pytest.raises(ValueError):
        calendar("UTC").named(period, label)
