"""What is asked of the ledger's sums, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.stores.ledger.analysis import NotAnswerable, Question, dear
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.values import Usage
from tests.harness import golden
from tests.harness.records import record

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def question(**changes: Any) -> Question:
    return Question(**{"since": NOON, "until": NOON + HOUR, "zone": BERLIN, **changes})


def calls(ledger: Ledger, asked: Question) -> int:
    return sum(row.sums.requests for row in ledger.analysis.ask(asked))


def test_filters_and_own_calls_are_what_adding_up_by_hand_gives(ledger: Ledger) -> None:
    made = golden.calls(300)
    ledger.ingest(made)
    wide = {"since": golden.SINCE, "until": golden.UNTIL}
    filters: list[dict[Any, tuple[str, ...]]] = [
        {"model": ("gpt-a", "(unknown)")}, {"user": ("bob",), "stream": ("true",)}, {"upstream": ("", "west")},
        {"outcome": ("timeout",), "endpoint": ("chat",)}, {"stream": ("true", "false")}, {"key": ("nobody",)},
        {"model": ("(unknown)",)}, {"model": ("gpt-a",)}, {"model": ("gpt-b", "gpt-c")},
    ]  # fmt: skip

    for where in filters:
        expected = sum(
            all(str(golden.dimension(call, name)).replace("True", "true").replace("False", "false") in values
                for name, values in where.items())
            for call in made
        )  # fmt: skip
        assert calls(ledger, question(**wide, where=where)) == expected
        single, _ = ledger.analysis.requests(since=golden.SINCE, until=golden.UNTIL, where=where, limit=len(made))
        assert len(single) == expected
    own = sum(call.key == "key_bob_1" for call in made)
    assert calls(ledger, question(**wide, key="key_bob_1")) == own
    assert calls(ledger, question(**wide, key="key_bob_1", where={"user": ("alice",)})) == 0


def test_a_slot_counts_where_it_begins_and_exact_ends_are_read_from_the_calls(ledger: Ledger) -> None:
    moments = [NOON + 7 * MINUTE, NOON + 8 * MINUTE, NOON + 20 * MINUTE, NOON + 61 * MINUTE, NOON + 62 * MINUTE]
    ledger.ingest([record(n, at=at, duration=1 + n) for n, at in enumerate(moments)])
    asked = question(since=NOON + 8 * MINUTE, until=NOON + 62 * MINUTE)

    [whole] = ledger.analysis.ask(asked.in_whole_quarters())
    [exact] = ledger.analysis.ask(question(since=asked.since, until=asked.until, exact=True))

    assert (asked.in_whole_quarters().since, asked.in_whole_quarters().until) == (NOON, NOON + 75 * MINUTE)
    assert (whole.sums.requests, calls(ledger, asked)) == (5, 3)
    assert (exact.sums.requests, exact.sums.duration_us) == (3, 9_000_000)
    assert exact.duration is not None
    assert exact.duration.p50 == pytest.approx(3, rel=0.026)
    assert calls(ledger, question(since=NOON + 8 * MINUTE, until=NOON + 9 * MINUTE, exact=True)) == 1
    assert calls(ledger, question(since=NOON + 8 * MINUTE, until=NOON + 9 * MINUTE, exact=True, key="x")) == 0


def test_where_calls_are_deleted_exact_ends_are_whole_quarters(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=NOON + n * MINUTE) for n in range(20)])
    ledger.retention.delete_records(NOON + HOUR, 20)

    assert calls(ledger, question(since=NOON - MINUTE, until=NOON + 5 * MINUTE, exact=True)) == 15


def test_what_is_told_of_calls_of_which_little_is_known(ledger: Ledger) -> None:
    ledger.ingest([record(1, at=NOON, usage=Usage(), usage_source="none", cost=None, duration=None, ttft=None)])

    [row] = ledger.analysis.ask(question())

    sums = row.sums
    assert (row.duration, row.ttft, sums.cost, sums.avg_tokens, sums.avg_duration) == (None,) * 5
    assert (sums.tokens_per_second, sums.input_output_ratio, sums.unpriced_share) == (None,) * 3
    assert (sums.requests, sums.error_rate) == (1, 0.0)


def test_what_follows_from_sums(ledger: Ledger) -> None:
    ledger.ingest(
        [
            record(1, at=NOON, duration=2.0),
            record(2, at=NOON, duration=4.0, outcome="timeout", usage=Usage(prompt_tokens=10), cost=None),
        ]
    )

    [row] = ledger.analysis.ask(question())

    sums = row.sums
    assert (sums.failed, sums.error_rate, sums.avg_tokens, sums.avg_duration) == (1, 0.5, 170.0, 3.0)
    assert (sums.tokens_per_second, sums.input_output_ratio, sums.unpriced_share) == (20.0, 0.5, 0.5)
    assert sums.cost == Decimal("0.000315")


def test_who_leads_and_ties_have_one_order(ledger: Ledger) -> None:
    ledger.ingest([
        record(n, at=NOON, user=user, usage=Usage(total_tokens=tokens), cost=cost, outcome=outcome)
        for n, (user, tokens, cost, outcome) in enumerate([
            ("a", 5, None, "success"), ("b", 9, Decimal("0.1"), "timeout"), ("c", 5, Decimal("0.2"), "success"),
            ("c", 1, None, "client_gone"),
        ])
    ])  # fmt: skip
    asked = question(group_by=("user",), bucket="hour")

    def lead(by: Any, limit: int = 9) -> list[Any]:
        return [row.group["user"] for row, _ in ledger.analysis.top(asked, by, limit)]

    assert (lead("requests"), lead("tokens"), lead("tokens", 1)) == (["c", "a", "b"], ["b", "c", "a"], ["b"])
    assert (lead("cost"), lead("errors")) == (["c", "b"], ["b"])
    assert [share for _, share in ledger.analysis.top(asked, "tokens", 1)] == [Decimal("0.45")]


def test_pages_of_calls_go_on_behind_the_last_one_whatever_comes_in(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=NOON + n // 3 * MINUTE, stream=n % 2 == 0) for n in range(10)])

    first, cursor = ledger.analysis.requests(limit=4)
    ledger.ingest([record(n, at=NOON + 9 * MINUTE) for n in range(10, 14)])
    second, cursor = ledger.analysis.requests(before=cursor, limit=4)
    third, end = ledger.analysis.requests(before=cursor, limit=4)

    numbers = [int(call.request_id[-8:]) for call in [*first, *second, *third]]
    assert numbers == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert end is None


def test_calls_are_found_by_what_they_are_and_when_they_were(ledger: Ledger) -> None:
    ledger.ingest(
        [
            record(n, at=NOON + n * MINUTE, stream=n % 2 == 0, upstream=None if n == 3 else "openai", key=f"k{n % 3}")
            for n in range(6)
        ]
    )
    ledger.ingest([record(6, at=NOON - MINUTE, model="gtp", outcome="rejected", error="model_not_found")])

    def found(**asked: Any) -> list[int]:
        return [int(call.request_id[-8:]) for call in ledger.analysis.requests(**asked)[0]]

    assert found(where={"stream": ("true",)}) == [4, 2, 0]
    assert found(where={"model": ("(unknown)",)}) == [6]
    assert found(where={"model": ("gtp",)}) == []  # its sums stand under (unknown), and so does it
    assert found(where={"model": ("gtp", "(unknown)", "gpt-3.5-turbo")}) == [5, 4, 3, 2, 1, 0, 6]
    assert found(where={"upstream": ("",)}) == [3]
    assert found(where={"upstream": ("", "openai"), "model": ("gpt-3.5-turbo",)}, key="k0") == [3, 0]
    assert found(since=NOON + MINUTE, until=NOON + 3 * MINUTE) == [2, 1]
    assert found(where={"user": ("nobody",)}) == []


def test_totals_are_of_all_time(ledger: Ledger) -> None:
    made = golden.calls(200)
    ledger.ingest(made)
    expected = golden.recount(made, BERLIN, None, ("model", "endpoint", "stream", "upstream", "outcome"))

    found = {(None, *row.group.values()): row.sums.requests for row in ledger.analysis.totals()}

    assert found == {key: sums["requests"] for key, sums in expected.items()}


def test_histograms_count_each_call_that_has_a_time(ledger: Ledger) -> None:
    made = golden.calls(200)
    ledger.ingest(made)
    wide = question(since=golden.SINCE, until=golden.UNTIL, group_by=("model",))

    for row, spread in ledger.analysis.latencies(wide):
        assert sum(spread.get("duration", {}).values()) == row.sums.with_duration
        assert sum(spread.get("ttft", {}).values()) == row.sums.with_ttft


def test_an_answer_with_too_many_rows_is_none(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=NOON, user=f"u{n}") for n in range(5)])

    assert len(ledger.analysis.ask(question(group_by=("user",)), 5)) == 5
    with pytest.raises(NotAnswerable, match="more than 4 rows"):
        ledger.analysis.ask(question(group_by=("user",)), 4)


def test_groups_of_which_all_calls_are_taken_away_are_no_rows(ledger: Ledger) -> None:
    nights = [NOON + 11 * HOUR + timedelta(days=n) for n in range(5)]  # at 23:00, which is the next day in Berlin
    ledger.ingest([record(n, at=at, user=f"u{n}") for n, at in enumerate(nights)])
    for period in ledger.closing.due(ZoneInfo("UTC"), NOON + timedelta(days=9)):
        assert ledger.closing.close(period)
    days = question(until=NOON + timedelta(days=6), bucket="day", group_by=("user",))

    assert [row.sums.requests for row in ledger.analysis.ask(days, 5)] == [1] * 5
    with pytest.raises(NotAnswerable, match="more than 4 rows"):
        ledger.analysis.ask(days, 4)


def test_what_came_late_to_a_day_that_was_closed_without_its_quarters_is_taken_away_once(ledger: Ledger) -> None:
    march = datetime(2028, 3, 1, tzinfo=UTC)
    half_hour = march + timedelta(days=24, hours=18, minutes=40)  # India's day begins in this hour
    ledger.ingest([record(n, at=march + timedelta(days=n, hours=12), cost=Decimal(1)) for n in range(32)])
    ledger.ingest([record(100, at=half_hour, cost=Decimal(1), user="dave")])
    since = None
    while (gone := ledger.retention.delete_quarters(march + timedelta(days=28), since=since)).newest:
        since = gone.newest
    for period in ledger.closing.due(golden.KOLKATA, march + timedelta(days=31)):
        assert ledger.closing.close(period)
    asked = question(since=march - 6 * HOUR, until=march + timedelta(days=24, hours=6), zone=golden.KOLKATA)
    [before] = ledger.analysis.ask(asked)

    [called] = [each for each in ledger.read(0, 99) if each.record.user == "dave"]
    change = Change(seq=called.seq, before=Decimal(1), cost=Decimal(41), price_source="configured", price_date=None)
    assert ledger.prices.change([change])
    ledger.ingest([record(101, at=half_hour + MINUTE, user="eve")])

    assert ledger.analysis.ask(asked) == [before]
    assert (before.sums.requests, before.sums.cost) == (24, Decimal(24))


def test_what_would_take_too_long_is_refused_but_not_of_one_caller(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dear, "MOST_ROWS", 1000)
    if not ledger.is_sqlite:
        pytest.skip("the limit is the same; rows are made by SQLite's own SQL")
    ledger.ingest([record(1, at=NOON)])
    with ledger._engine.begin() as connection:
        names = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(rollups_hour)")]
        taken = ", ".join({"slot": "slot", "user": "'u' || (n % 40)"}.get(name, f'"{name}"') for name in names)
        made = taken.replace("slot", "strftime('%Y-%m-%d %H:00:00.000000', slot, '+' || (n / 40) || ' hours')", 1)
        connection.exec_driver_sql(
            "INSERT INTO rollups_hour WITH RECURSIVE numbers(n) AS (SELECT 40 UNION ALL SELECT n + 1 FROM numbers "
            f"WHERE n < 4000) SELECT {made} FROM numbers, rollups_hour"
        )
    week = question(until=NOON + timedelta(days=7), bucket="hour", group_by=("user",))

    with pytest.raises(NotAnswerable, match="shorter time"):
        ledger.analysis.ask(week)

    assert calls(ledger, question(until=NOON + timedelta(days=2), bucket="hour", group_by=("user",))) > 1800
    assert calls(ledger, question(until=NOON + timedelta(days=7), bucket="hour", where={"user": ("u7",)})) == 99


def test_days_of_another_zone_are_told_from_closed_days_where_their_hours_would_be_too_many(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dear, "MOST_ROWS", 50)
    ledger.ingest([record(n, at=NOON + n * HOUR, user="u") for n in range(6 * 24)])
    week = question(until=NOON + timedelta(days=6), bucket="day", group_by=("user",))
    with pytest.raises(NotAnswerable, match="time zone"):
        ledger.analysis.ask(week)

    for period in ledger.closing.due(ZoneInfo("UTC"), NOON + timedelta(days=7)):
        assert ledger.closing.close(period)

    told = [(row.bucket, row.group, row.sums.requests) for row in ledger.analysis.ask(week)]
    counts = [11, *[24] * 5, 13]
    assert told == [(datetime(2026, 11, 24 + n, tzinfo=BERLIN), {"user": "u"}, calls) for n, calls in enumerate(counts)]


def test_ends_within_a_quarter_are_refused_where_too_many_calls_lie_in_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dear, "MOST_RECORDS", 13)
    ledger.ingest([record(n, at=NOON + n * MINUTE, key=f"k{n % 2}") for n in range(30)])
    ragged = {"since": NOON + 7 * MINUTE, "until": NOON + 22 * MINUTE, "exact": True}

    with pytest.raises(NotAnswerable, match="whole quarters"):
        ledger.analysis.ask(question(**ragged))

    assert calls(ledger, question(**ragged, key="k1")) == 8  # of one caller there are few
    assert calls(ledger, question(**ragged, bucket="day", where={"key": ("k1",)})) == 8
    assert calls(ledger, question(**ragged).in_whole_quarters()) == 30
    assert calls(ledger, question(**ragged | {"since": NOON + MINUTE})) == 21  # one call is taken away


def test_exact_ends_are_read_from_the_calls_also_where_quarters_are_gone(ledger: Ledger) -> None:
    ledger.ingest([record(n, at=NOON + n * 10 * MINUTE) for n in range(12)])
    since = None
    while (gone := ledger.retention.delete_quarters(NOON + 2 * HOUR, since=since)).newest:
        since = gone.newest

    spans = [(0, 82), (7, 60), (7, 52), (60, 61), (0, 120)]
    found = [calls(ledger, question(since=NOON + a * MINUTE, until=NOON + b * MINUTE, exact=True)) for a, b in spans]

    assert found == [9, 5, 5, 1, 12]


def test_years_before_the_first_call_and_after_the_last_cost_nothing(ledger: Ledger) -> None:
    empty = question(since=datetime(1970, 1, 5, tzinfo=UTC), until=datetime(9998, 1, 1, tzinfo=UTC), bucket="day")
    none = ledger.analysis.ask(empty)
    ledger.ingest([record(1, at=NOON), record(2, at=NOON + timedelta(days=50))])
    for period in ledger.closing.due(BERLIN, NOON + timedelta(days=3))[:2]:
        ledger.closing.close(period)

    rows = ledger.analysis.ask(empty)

    assert (none, [row.sums.requests for row in rows]) == ([], [1, 1])
