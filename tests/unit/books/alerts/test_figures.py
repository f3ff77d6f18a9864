"""The figures that rules are about are those of the ledger, of the relay and of Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.reports.alerts.figures import Looking
from llm_one_api.books.reports.alerts.judging import Figure
from llm_one_api.books.reports.alerts.rules import Metric, Rule
from llm_one_api.limits.rules import Amounts, LimitSet, Rules
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.status import NONE, RelayStatus
from llm_one_api.stores.ledger.analysis import Question, Row
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams.overview import LastError, ModelShown, Overview, Times, UpstreamShown
from llm_one_api.values import Usage
from tests.harness import golden
from tests.harness.databases import give_tables
from tests.harness.records import record

NOW = datetime(2026, 11, 30, 4, 7, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_RULES = Rules()


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The golden year's calls."""
    file = tmp_path_factory.mktemp("year") / "ledger.db"
    give_tables(file)
    it = Ledger(f"sqlite:///{file}")
    it.ingest(golden.calls())
    yield it
    it.close()


def rule(metric: Metric, **changes: Any) -> Rule:
    return Rule(
        **{"name": "r", "metric": metric, "above": Decimal(1), "resolve_at": Decimal(1), "min_requests": 1, **changes}
    )


def looking(ledger: Ledger, now: datetime = NOW, **changes: Any) -> Looking:
    means = {
        "zone": ZoneInfo("UTC"), "limits": NO_RULES, "journal": Path("/nowhere"), "clock": lambda: now,
        "upstreams": lambda: Overview(processes=0, models=()), **changes,
    }  # fmt: skip
    return Looking(ledger, now, **means)


def look(ledger: Ledger, one: Rule, now: datetime = NOW, **changes: Any) -> Mapping[str, Figure] | None:
    return looking(ledger, now, **changes).of(one)


def value(ledger: Ledger, one: Rule, now: datetime = NOW, **changes: Any) -> float | None:
    """Give the figure of a rule that tells nothing apart."""
    return only(look(ledger, one, now, **changes))


def only(found: Mapping[str, Figure] | None) -> float | None:
    assert found is not None
    figure = found["{}"].value
    return None if figure is None else float(figure)


def calls(number: int, at: datetime, first: int = 1, **changes: Any) -> list[Any]:
    return [record(first + n, at=at + n * timedelta(milliseconds=1), **changes) for n in range(number)]


def test_of_a_sliding_window_every_call_counts_and_none_beside_it(ledger: Ledger) -> None:
    since = NOW - 15 * MINUTE
    ledger.ingest(calls(1, since - timedelta(microseconds=1), 1, outcome="timeout"))
    ledger.ingest(calls(3, since, 100))
    ledger.ingest(calls(1, NOW - timedelta(microseconds=1), 200, outcome="timeout"))

    assert value(ledger, rule("error_rate")) == 0.25
    assert value(ledger, rule("error_rate", window=16 * MINUTE)) == 0.4
    assert value(ledger, rule("error_rate", min_requests=5)) is None


def test_each_figure_of_calls(ledger: Ledger) -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=1000, total_tokens=2000)
    ledger.ingest(calls(19, NOW - MINUTE, 1, duration=1.0, ttft=0.5, cost=Decimal("0.5")))
    ledger.ingest(calls(1, NOW - MINUTE, 50, duration=21.0, ttft=None, usage=usage, cost=None))

    figures: Mapping[Metric, float | None] = MappingProxyType(
        {
            "avg_tokens": (19 * 170 + 2000) / 20,
            "avg_duration": 2.0,
            "avg_ttft": 0.5,
            "unpriced_share": 0.05,
            "error_rate": 0.0,
            "cost_per_hour": 9.5,
            "cost_per_day": 9.5,
        }
    )
    assert {metric: value(ledger, rule(metric)) for metric in figures} == figures
    assert value(ledger, rule("p95_duration")) == pytest.approx(1.0, rel=0.05)
    assert value(ledger, rule("p95_ttft")) == pytest.approx(0.5, rel=0.05)


def test_without_a_call_there_is_no_average_and_no_cost(ledger: Ledger) -> None:
    assert value(ledger, rule("avg_tokens")) is None
    assert value(ledger, rule("cost_per_day")) == 0


def test_groups_and_filters(ledger: Ledger) -> None:
    ledger.ingest(calls(2, NOW - MINUTE, 1, user="alice", outcome="timeout"))
    ledger.ingest(calls(2, NOW - MINUTE, 50, user="bob", upstream=None))

    apart = look(ledger, rule("error_rate", group_by=("user", "upstream")))
    alone = look(ledger, rule("error_rate", where={"user": ("bob",)}))

    assert apart == {
        '{"user":"alice","upstream":"openai"}': Figure(value=Decimal("1.0"), samples=2),
        '{"user":"bob","upstream":""}': Figure(value=Decimal("0.0"), samples=2),
    }
    assert alone == {"{}": Figure(value=Decimal("0.0"), samples=2)}


def test_what_two_rules_ask_is_looked_up_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = looking(ledger)
    asked: list[Question] = []
    ask = ledger.analysis.ask

    def count(question: Question) -> list[Row]:
        asked.append(question)
        return ask(question)

    monkeypatch.setattr(ledger.analysis, "ask", count)
    metrics: tuple[Metric, ...] = ("avg_tokens", "error_rate", "avg_duration")

    for metric in metrics:
        looks.of(rule(metric))

    assert [question.exact for question in asked] == [False, True]


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
def test_over_a_golden_year_the_figures_are_those_of_a_recount(year: Ledger, zone: ZoneInfo) -> None:
    made = golden.calls()
    moments = [moment + delta for moment in golden.MOMENTS for delta in (timedelta(), timedelta(hours=5, minutes=7))]

    for now in moments:
        looks = looking(year, now, zone=zone)
        day = datetime(*now.astimezone(zone).timetuple()[:3], tzinfo=zone).astimezone(UTC)
        for metric, since in (
            ("cost_per_day", day), ("cost_per_hour", now - timedelta(hours=1)),
            ("error_rate", now - timedelta(hours=3)), ("avg_tokens", now - timedelta(hours=3)),
            ("avg_duration", now - timedelta(hours=3)), ("avg_ttft", now - timedelta(hours=3)),
            ("unpriced_share", now - timedelta(hours=3)),
        ):  # fmt: skip
            expected = golden.figures([call for call in made if since <= call.at < now])
            figure = expected["cost"] or 0 if metric.startswith("cost") else expected[metric]
            found = only(looks.of(rule(metric, window=timedelta(hours=3))))  # type: ignore[arg-type]
            assert found == (None if figure is None else pytest.approx(float(figure), abs=1e-12)), (metric, now)


def test_a_long_window_begins_with_a_quarter_of_an_hour(year: Ledger) -> None:
    now = golden.MOMENTS[0]
    begin = now - timedelta(days=2)
    expected = golden.figures([call for call in golden.calls() if begin <= call.at < now])

    figure = value(year, rule("error_rate", window=timedelta(days=2) - 7 * MINUTE), now)

    assert figure == expected["error_rate"]


def test_so_does_one_with_very_many_calls(ledger: Ledger) -> None:
    ledger.ingest(calls(3, NOW - 15 * MINUTE - timedelta(seconds=1), 1, outcome="timeout"))
    ledger.ingest(calls(3, NOW - MINUTE, 50))

    assert value(ledger, rule("error_rate")) == 0.0
    assert value(ledger, rule("error_rate"), exact_calls=5) == 0.5


def test_the_cost_of_an_hour_is_that_of_sixty_minutes_with_very_many_calls_too(ledger: Ledger) -> None:
    ledger.ingest(calls(5, NOW - timedelta(hours=1, seconds=1), 1, cost=Decimal("0.1")))
    ledger.ingest(calls(3, NOW - MINUTE, 50, cost=Decimal("0.2"), upstream=None))

    assert value(ledger, rule("cost_per_hour"), exact_calls=5) == 0.6
    assert value(ledger, rule("cost_per_hour", where={"user": ("nobody",)}), exact_calls=0) == 0
    found = look(ledger, rule("cost_per_hour", group_by=("upstream",)), exact_calls=5)
    assert found is not None
    assert {group: figure.value for group, figure in found.items()} == {
        '{"upstream":""}': Decimal("0.6"),
        '{"upstream":"openai"}': 0,
    }


def test_while_records_are_late_nothing_is_said_of_calls(ledger: Ledger) -> None:
    ledger.ingest(calls(3, NOW - MINUTE, 1, outcome="timeout"))
    ledger.ingest(calls(3, NOW - timedelta(seconds=5), 50))

    assert value(ledger, rule("error_rate"), lags=lambda: [0.1]) == 0.5
    assert value(ledger, rule("error_rate"), lags=lambda: [0.1, 30.0]) == 1.0
    with capture_logs() as logs:
        assert look(ledger, rule("error_rate"), lags=lambda: [61.0]) is None
    assert [(line["event"], line["why"]) for line in logs] == [("alerts.cannot_look", "61 s late")]
    assert value(ledger, rule("relay_lag"), lags=lambda: [61.0, 3.0]) == 61


def test_of_each_quota_as_much_as_is_used(ledger: Ledger) -> None:
    windows = ("user:alice:day:2026-11-30", "all:month:2026-11")
    ledger.ingest([record(n, at=NOW, quota_tokens=30, quota_windows=windows) for n in (1, 2)])
    limits = Rules(
        each={"user": LimitSet(day=Amounts(tokens=100, requests=8)), "all": LimitSet(month=Amounts(tokens=1000))}
    )

    found = look(ledger, rule("quota_percent"), limits=limits)
    of_alice = look(ledger, rule("quota_percent", where={"user": ("alice",)}), limits=limits)

    assert found == {
        '{"scope":"all","period":"month","unit":"tokens"}': Figure(value=Decimal("6.00")),
        '{"scope":"user:alice","period":"day","unit":"tokens"}': Figure(value=Decimal("60.00")),
        '{"scope":"user:alice","period":"day","unit":"requests"}': Figure(value=Decimal("25.00")),
    }
    assert of_alice is not None
    assert len(of_alice) == 2
    ledger.quotas.boost("user:alice", "day", "tokens", 100, NOW + MINUTE)
    boosted = look(ledger, rule("quota_percent", where={"user": ("alice",)}), limits=limits)
    assert boosted is not None
    assert boosted['{"scope":"user:alice","period":"day","unit":"tokens"}'].value == 30
    assert look(ledger, rule("quota_percent"), NOW + timedelta(days=1), limits=limits) != found


def test_how_late_records_are(ledger: Ledger, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    one = rule("relay_lag")
    assert look(ledger, one, journal=journal) is None
    told = RelayStatus(
        at=NOW, pid=1, started_at=NOW, lag=12.5, oldest_unacked=None, unacked_batches=0, planned_batches=0,
        journal_bytes=0, acked_bytes=0, broker_away_since=None, acks_away_since=None, sent=0, acked=0, resent=0,
        lost_at=None, pruned_until=None, gone=NONE, there={},
    )  # fmt: skip
    status.write(journal, told)

    fresh = value(ledger, one, NOW + 5 * timedelta(seconds=1), journal=journal)
    idle = value(ledger, one, NOW + 10 * MINUTE, journal=journal)
    (journal / "0193f0f0f0f0f0f0f0f0f0f0f0f0f0f0.00000001.seg").touch()
    waiting = value(ledger, one, NOW + 10 * MINUTE, journal=journal)

    assert (fresh, idle, waiting) == (12.5, 0, 612.5)


def shown(name: str, **changes: Any) -> UpstreamShown:
    usual = UpstreamShown(
        name=name, state="healthy", why=None, since=None, until=None, kept=False, weight=1, max_concurrent=None,
        in_flight=0, requests=0, failures=0, share=None, ttft=Times(p50=None, p95=None),
        duration=Times(p50=None, p95=None), last_error=None,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


def test_which_upstreams_are_down(ledger: Ledger) -> None:
    failed = LastError(code="http_500", status=500, at=1.0)
    upstreams = (
        shown("a", last_error=failed),
        shown("b", state="ejected"),
        shown("c", kept=True),
        shown("d", state="paused"),
        shown("e", state="off"),
        shown("f", state="trial"),
    )
    model = ModelShown(model="m", strategy="x", fallbacks=(), waiting=0, requests=0, upstreams=upstreams)
    overview = Overview(processes=1, models=(model,))

    found = look(ledger, rule("upstream_down"), upstreams=lambda: overview)
    some = look(ledger, rule("upstream_down", where={"upstream": ("b",)}), upstreams=lambda: overview)

    assert found is not None
    assert {msgspec.json.decode(group)["upstream"] for group, one in found.items() if one.value} == {"b", "c", "f"}
    assert some == {'{"model":"m","upstream":"b"}': Figure(value=Decimal(1))}
    assert look(ledger, rule("upstream_down")) is None  # no gateway tells anything


def test_redis_that_is_away_is_told_and_leaves_the_figure_unknown(ledger: Ledger) -> None:
    def away() -> Overview:
        raise ConnectionError("redis://:S3CRET@host")

    with capture_logs() as logs:
        found = look(ledger, rule("upstream_down"), upstreams=away)

    assert found is None
    assert logs == [
        {"event": "alerts.cannot_look", "log_level": "warning", "rule": "r", "what": "redis", "why": "ConnectionError"}
    ]


def test_what_was_set_aside_is_counted(ledger: Ledger) -> None:
    assert value(ledger, rule("dead_letters")) == 0
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO refused_records (request_id, reason, line, at) VALUES ('1', 'x', '{}', '2026-11-30 04:00:00')"
        )

    assert value(ledger, rule("dead_letters")) == 1
