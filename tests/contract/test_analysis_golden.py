"""A golden year in the ledger, on SQLite and on PostgreSQL: every answer is what adding up by hand gives, all its life.

The ledger lives through it once for each database; what it answered at each stage is looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest

from llm_one_api.stores.ledger.analysis import Bucket, Dimension, PeakHour, Question, Row
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.values import UsageRecord
from tests.harness import golden

HOUR = timedelta(hours=1)
LATE = 60
"""Calls that come in when their days are closed."""
MONTHS = {2, 3, 10}
"""Whose days are closed; those of the others are not, so answers are of both."""
QUARTERS_SINCE = datetime(2028, 3, 12, tzinfo=UTC)
"""Before, quarters are deleted in the end; and so are all records."""

Groups = tuple[Dimension, ...]
ALL: tuple[tuple[Bucket | None, Groups], ...] = (
    (None, ("model",)), (None, ("user", "key", "outcome")), ("month", ("upstream", "stream")), ("day", ()),
    ("day", ("user",)), ("hour", ("endpoint",)),
)  # fmt: skip
WHOLE, WITHIN = (
    (golden.SINCE, golden.UNTIL),
    (datetime(2028, 2, 29, 7, tzinfo=UTC), datetime(2028, 10, 29, 20, tzinfo=UTC)),
)
"""All of the time; and what begins and ends within days of each zone, where most calls are."""
ASKED = [(WHOLE, *each) for each in ALL] + [(WITHIN, *each) for each in ALL if each[0] != "hour"]
STAGES = ("fresh", "closed", "late and priced anew", "half closed for another zone", "old")


class Life(NamedTuple):
    """What a ledger answered, at each stage."""

    made: dict[str, Sequence[UsageRecord]]
    """The calls as they are then."""
    answers: dict[tuple[Any, ...], list[Row]]
    peaks: dict[tuple[str, str], list[PeakHour]]
    differences: dict[str, list[Any]]
    closed: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def life(module_url: str) -> Life:
    """Have a ledger live through the golden year."""
    return _live(module_url)


def _live(url: str) -> Life:
    it = Life({}, {}, {}, {}, {})
    ledger = Ledger(url)
    calls = golden.calls()
    late, early = calls[:: len(calls) // LATE], [call for n, call in enumerate(calls) if n % (len(calls) // LATE)]

    ledger.ingest(early)
    _look(ledger, it, "fresh", early)

    _close(ledger, golden.BERLIN)
    _look(ledger, it, "closed", early)

    ledger.ingest(late)
    made = _price_anew(ledger, [*early, *late])
    _look(ledger, it, "late and priced anew", made)

    _close(ledger, golden.KOLKATA, a_half=True)
    _look(ledger, it, "half closed for another zone", made)

    since = None
    while (gone := ledger.retention.delete_quarters(QUARTERS_SINCE, since=since)).newest:
        since = gone.newest
    ledger.retention.delete_records(golden.UNTIL, ledger.last_seq(), limit=len(made))
    _look(ledger, it, "old", made)
    ledger.close()
    return it


def _close(ledger: Ledger, zone: Any, *, a_half: bool = False) -> None:
    due = [each for each in ledger.closing.due(zone, golden.UNTIL) if each.since.astimezone(zone).month in MONTHS]
    for period in due[: len(due) // 2] if a_half else due:
        assert ledger.closing.close(period)


def _price_anew(ledger: Ledger, made: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Give every tenth call another price, and some of those without one a first."""
    kept = ledger.read(0, len(made))
    changes = [
        Change(
            seq=each.seq, before=each.record.cost, cost=Decimal(each.seq).scaleb(-9), price_source="configured",
            price_date=None,
        )
        for each in kept
        if each.seq % 10 == 0 and each.record.usage_source != "none"
    ]  # fmt: skip
    assert ledger.prices.change(changes)
    costs = {change.seq: change.cost for change in changes}
    return [msgspec.structs.replace(each.record, cost=costs.get(each.seq, each.record.cost)) for each in kept]


def _look(ledger: Ledger, it: Life, stage: str, made: Sequence[UsageRecord]) -> None:
    it.made[stage] = tuple(made)
    for zone in golden.ZONES:
        for (since, until), bucket, groups in ASKED:
            question = Question(since=since, until=until, zone=zone, bucket=bucket, group_by=groups)
            it.answers[stage, zone.key, (since, until), bucket, groups] = ledger.analysis.ask(question)
        whole = Question(since=golden.SINCE, until=golden.UNTIL, zone=zone)
        it.peaks[stage, zone.key] = ledger.analysis.peak_hours(whole)
    it.differences[stage] = [*ledger.closing.differences(golden.SINCE, golden.UNTIL)]
    if stage.startswith("late"):  # there are no more sums that come from records
        it.differences[stage] += ledger.rollups.differences(golden.SINCE, golden.UNTIL)
    it.closed[stage] = ledger.closing.count(golden.SINCE, golden.UNTIL)


def is_exact(stage: str, zone: str, bucket: Bucket | None) -> bool:
    """Tell whether slots are fine enough: India's hours lie across those that are left when quarters are gone."""
    return stage != "old" or zone != golden.KOLKATA.key or bucket is None


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
@pytest.mark.parametrize("stage", STAGES)
def test_every_answer_is_what_adding_up_by_hand_gives(life: Life, stage: str, zone: Any) -> None:
    for span, bucket, groups in ASKED:
        expected = golden.recount(_made_in(life, stage, span), zone, bucket, groups)
        answer = life.answers[stage, zone.key, span, bucket, groups]

        if is_exact(stage, zone.key, bucket):
            found = {(row.bucket and row.bucket.astimezone(UTC), *row.group.values()): row.sums for row in answer}
            assert found.keys() == expected.keys()
            for key, sums in found.items():
                assert golden.told(sums, expected[key]) == {
                    name: figure for name, figure in expected[key].items() if name not in {"durations", "ttfts"}
                }
        assert sum(row.sums.requests for row in answer) == len(_made_in(life, stage, span))


def _made_in(life: Life, stage: str, span: tuple[datetime, datetime]) -> list[UsageRecord]:
    return [call for call in life.made[stage] if span[0] <= call.at < span[1]]


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
@pytest.mark.parametrize("stage", STAGES)
def test_percentiles_are_true_to_five_percent(life: Life, stage: str, zone: Any) -> None:
    looked_at = 0
    for span, bucket, groups in ASKED:
        rows = life.answers[stage, zone.key, span, bucket, groups]
        if not {*groups} <= {"model", "endpoint", "stream", "upstream"}:
            assert all(row.duration is row.ttft is None for row in rows)
            continue
        if not is_exact(stage, zone.key, bucket):
            continue
        expected = golden.recount(_made_in(life, stage, span), zone, bucket, groups)
        for row in rows:
            exact = expected[row.bucket and row.bucket.astimezone(UTC), *row.group.values()]
            for told, values in ((row.duration, exact["durations"]), (row.ttft, exact["ttfts"])):
                assert (told is None) == (not values)
                if told is not None:
                    shares = (told.p50, 0.5), (told.p95, 0.95), (told.p99, 0.99)
                    for share in shares:
                        assert share[0] == pytest.approx(golden.quantile(values, share[1]), rel=0.026)
                    looked_at += 1
    assert looked_at > (300 if is_exact(stage, zone.key, "day") else 5)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "old"])
@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
def test_hours_of_the_week_are_those_of_the_zone(life: Life, stage: str, zone: Any) -> None:
    expected: dict[tuple[int, int], int] = {}
    for call in life.made[stage]:
        local = call.at.astimezone(zone)
        place = (local.weekday(), local.hour)
        expected[place] = expected.get(place, 0) + 1

    found = {(peak.weekday, peak.hour): peak.sums.requests for peak in life.peaks[stage, zone.key]}

    assert found == expected


@pytest.mark.parametrize("stage", STAGES)
def test_sums_agree_with_one_another_and_with_the_records(life: Life, stage: str) -> None:
    assert life.differences[stage] == []


def test_days_and_months_are_closed_for_the_zone_of_the_config(life: Life) -> None:
    assert [life.closed[stage]["days"] > 0 for stage in STAGES] == [False, True, True, True, True]
    assert [life.closed[stage]["months"] for stage in STAGES] == [0, 3, 3, 0, 0]
