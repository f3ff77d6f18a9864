"""What is asked is read as it is meant, and what is wrong with it is told, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.reporting import parameters
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.parameters import Parameter
from llm_one_api.reporting.reading import NotUnderstood, cursor_text
from llm_one_api.stores.ledger.analysis import Cursor

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 10, 7, 30, tzinfo=UTC)


def asking(zone: ZoneInfo = SHANGHAI, **given: str | Sequence[str]) -> Asking:
    """Ask with *given*; `from_` stands for `from`."""
    texts = {name.rstrip("_"): [value] if isinstance(value, str) else list(value) for name, value in given.items()}
    return Asking(texts, zone, now=NOW)


def utc(year: int, month: int, day: int, *clock: int) -> datetime:
    hour, minute, second, micro = [*clock, 0, 0, 0, 0][:4]
    return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)


def faults(of: Asking, page: str = "usage") -> dict[str, str]:
    with pytest.raises(NotUnderstood) as told:
        getattr(of, page)()
    return {fault.param: fault.message for fault in told.value.faults}


def test_without_more_it_is_the_last_day_up_to_the_quarter_that_runs() -> None:
    question = asking().usage()

    assert (question.since, question.until) == (utc(2026, 11, 23, 10, 15), utc(2026, 11, 24, 10, 15))
    assert (question.zone, question.bucket, question.group_by, question.where) == (SHANGHAI, None, (), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24", utc(2026, 11, 23, 16)),
        ("2026-11-24T08:00", utc(2026, 11, 24)),
        ("2026-11-24 08:00:01", utc(2026, 11, 24, 0, 0, 1)),
        ("2026-11-24T00:00Z", utc(2026, 11, 24)),
        ("2026-11-24T00:00:00.25-05:30", utc(2026, 11, 24, 5, 30, 0, 250000)),
        ("2026-11-24T08:00 08:00", utc(2026, 11, 24)),  # a plus that a URL has made a blank of
    ],
)
def test_a_time_may_be_a_day_local_or_with_an_offset(text: str, expected: datetime) -> None:
    assert asking(from_=text).usage().since == expected


def test_a_day_as_the_end_means_to_its_end_also_where_it_has_25_hours() -> None:
    question = asking(BERLIN, from_="2026-10-25", to="2026-10-25").usage()

    assert (question.since, question.until) == (utc(2026, 10, 24, 22), utc(2026, 10, 25, 23))


def test_days_are_those_of_the_zone_that_is_asked_for() -> None:
    question = asking(from_="2026-11-24", tz="America/New_York").usage()

    assert (question.since, question.zone.key) == (utc(2026, 11, 24, 5), "America/New_York")


@pytest.mark.parametrize(
    ("bucket", "since", "until"),
    [
        ("15m", utc(2026, 11, 24, 0, 0), utc(2026, 11, 24, 2, 15)),
        ("hour", utc(2026, 11, 23, 23, 30), utc(2026, 11, 24, 2, 30)),
    ],
)
def test_hours_and_quarters_are_asked_for_as_wholes(bucket: str, since: datetime, until: datetime) -> None:
    question = asking(
        ZoneInfo("Asia/Kolkata"), from_="2026-11-24T05:37", to="2026-11-24T07:31", bucket=bucket
    ).usage()  # 5.5 hours ahead

    assert (question.since, question.until) == (since, until)


def test_groups_and_filters_are_read() -> None:
    question = asking(
        group_by="model, user,model", model=["a", "b,c"], stream="true", upstream="", outcome=["success", "timeout"]
    ).usage()

    assert question.group_by == ("model", "user")
    assert question.where == {
        "model": ("a", "b,c"), "stream": ("true",), "upstream": ("",), "outcome": ("success", "timeout"),
    }  # fmt: skip


def test_a_name_with_nul_is_looked_for_as_the_ledger_keeps_it() -> None:
    assert asking(user="a\0b").usage().where == {"user": ("a\ufffdb",)}


@pytest.mark.parametrize("name", ["model", "user", "endpoint", "upstream"])
def test_half_a_surrogate_pair_is_no_name(name: str) -> None:
    told = faults(Asking({name: ["gpt-4", "gpt-\udcff"]}, SHANGHAI, now=NOW), "calls")

    assert told == {name: f"`{name}` must be text in UTF-8, not 'gpt-\ufffd'."}


def test_every_fault_is_told_at_once() -> None:
    wrong = asking(
        frm="2026", from_="yesterday", to=["2026-11-24", "2026-11-25"], tz="America", bucket="week",
        group_by="model,team", key="sk-live-4711", stream="yes", outcome="ok", user="",
    )  # fmt: skip

    told = faults(wrong)

    assert list(told) == ["frm", "to", "bucket", "group_by", "tz", "from", "user", "key", "stream", "outcome"]
    assert told["frm"] == "`frm` is no parameter here; did you mean `from`?"
    assert told["to"] == "`to` is given 2 times."
    assert told["bucket"] == "`bucket` must be 15m, hour, day or month, not 'week'."
    assert "not 'team'" in told["group_by"]
    assert told["from"].startswith("`from` must be a day or a time such as 2026-11-24T08:00:00+08:00, not 'yester")


def test_a_key_that_is_given_for_its_fingerprint_is_not_repeated() -> None:
    assert "4711" not in str(faults(asking(key="sk-live-4711")))


def test_texts_are_repeated_on_one_line_and_not_whole() -> None:
    told = faults(asking(bucket="a\n\x1b[2J" + "b" * 1000))["bucket"]

    assert told.isprintable()
    assert len(told) < 200


@pytest.mark.parametrize(
    "text", ["2026-13-01", "2026-02-30", "1969-12-31", "9999-01-01", "2026-11-24T24:00", "٢٠٢٦-11-24", "1"]
)
def test_what_is_no_time_is_a_fault(text: str) -> None:
    assert list(faults(asking(to=text))) == ["to"]


@pytest.mark.parametrize("times", [{"from_": "2026-11-25"}, {"from_": "2026-11-24T01:00", "to": "2026-11-24T01:00"}])
def test_the_begin_must_be_before_the_end(times: dict[str, Any]) -> None:
    assert list(faults(asking(**times))) == ["from"]


def test_time_is_not_cut_into_too_many_pieces() -> None:
    assert asking(from_="2025-11-24", bucket="15m").usage().bucket == "15m"
    assert list(faults(asking(from_="2025-06-01", bucket="15m"))) == ["bucket"]
    assert asking(from_="1970-01-01", bucket="day").usage().bucket == "day"


@pytest.mark.parametrize("text", ["0", "1001", "-1", "+5", "1e2", "٣", " 3", "99999999999999999999"])
def test_a_limit_is_a_whole_number_within_its_bounds(text: str) -> None:
    assert list(faults(asking(limit=text), "top")) == ["limit"]


def test_a_top_list_is_of_models_by_calls_unless_told() -> None:
    plain, other = asking().top(), asking(by="cost", group_by="user,model", limit="3").top()

    assert (plain.by, plain.question.group_by, plain.limit) == ("requests", ("model",), 10)
    assert (other.by, other.question.group_by, other.limit) == ("cost", ("user", "model"), 3)


def test_peak_hours_look_back_four_weeks_so_that_all_days_of_the_week_count_alike() -> None:
    question = asking().peak_hours()

    assert question.until - question.since == timedelta(days=28)


def test_single_calls_are_of_all_times_unless_told() -> None:
    calls = asking(limit="2", before="1763978850000001-17").calls()

    assert (calls.since, calls.until, calls.limit) == (None, None, 2)
    assert calls.before == Cursor(utc(2025, 11, 24, 10, 7, 30, 1), 17)


def test_a_caller_without_rights_asks_for_its_own_calls_only() -> None:
    own = Asking({"key": ["key_00000000"]}, SHANGHAI, key="key_3f9a1c22", now=NOW)

    assert (own.usage().key, own.top().question.key, own.calls().key) == ("key_3f9a1c22",) * 3


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    st.integers(0, 10**18 - 1),
)
def test_a_place_between_calls_survives_its_being_written(at: datetime, seq: int) -> None:
    place = Cursor(at.replace(tzinfo=UTC), seq)

    assert asking(before=cursor_text(place)).calls().before == place


PAGES: Mapping[str, Sequence[Parameter]] = {
    "usage": parameters.USAGE,
    "top": parameters.TOP_LIST,
    "peak_hours": parameters.PEAK_HOURS,
    "calls": parameters.REQUESTS,
    "live": parameters.LIVE,
}


@pytest.mark.parametrize("page", PAGES)
@hypothesis.settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_given_is_either_read_or_a_fault_of_one_of_its_parameters(page: str, data: st.DataObject) -> None:
    names = st.sampled_from([one.name for one in PAGES[page]]) | st.text(max_size=5)
    given_texts: dict[str, Any] = data.draw(st.dictionaries(names, st.lists(st.text(max_size=30), max_size=2)))

    assert told(Asking(given_texts, BERLIN, now=NOW), page) <= set(given_texts) | {"from"}


def told(of: Asking, page: str) -> set[str]:
    """Give the parameters that have a fault."""
    try:
        getattr(of, page)()
    except NotUnderstood as error:
        return {fault.param for fault in error.faults}
    return set()


def test_peak_hours_are_of_whole_hours_and_say_so() -> None:
    question = asking(from_="2026-11-02T10:05:00Z", to="2026-11-02T10:10:00Z").peak_hours()

    assert (question.since.minute, question.until - question.since) == (0, timedelta(hours=1))
