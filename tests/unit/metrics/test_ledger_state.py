"""Gauges from the ledger: error rate, quotas, what was set aside, jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from llm_one_api.books.jobs import Planned
from llm_one_api.limits.rules import Amounts, LimitSet, Rules
from llm_one_api.metrics.labels import Known
from llm_one_api.metrics.names import chosen
from llm_one_api.metrics.quotas import QuotaRatios
from llm_one_api.metrics.sums import FromLedger
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.metrics import Samples, samples, value
from tests.harness.records import record

UTC_ZONE = ZoneInfo("UTC")
RULES = Rules(each={"user": LimitSet(day=Amounts(tokens=1000, requests=4))})
JOBS = (Planned(name="audit", every="day"), Planned(name="alerts", every="minute"))


def told(ledger: Ledger, *, users: bool = False, wanted: Any = None, since: datetime | None = None) -> Samples:
    read = FromLedger(
        ledger,
        known=Known(["m", "n"], ["openai"]),
        wanted=chosen(wanted, users=users),
        plugins=("log", "mine"),
        jobs=JOBS,
        quotas=QuotaRatios(RULES, UTC_ZONE, each=users),
        zone=UTC_ZONE,
        since=since,
    )
    return samples(read())


def call(number: int, **changes: Any) -> Any:
    return record(number, **{"at": datetime.now(UTC), "model": "m", **changes})


def test_an_empty_ledger_has_no_figures_but_those_that_are_known_to_be_none(ledger: Ledger) -> None:
    found = told(ledger)

    assert {name for name, _ in found} == {
        "llm_dead_letters", "llm_refused_records", "llm_plugin_lag_records", "llm_job_overdue"
    }  # fmt: skip
    assert value(found, "llm_plugin_lag_records", plugin="mine") == 0


def test_the_error_rate_is_that_of_the_last_quarters_and_leaves_out_who_is_in_neither(ledger: Ledger) -> None:
    outcomes = ["success", "success", "timeout", "truncated", "client_error", "client_gone"]
    ledger.ingest([call(n, outcome=outcome) for n, outcome in enumerate(outcomes)])
    ledger.ingest([call(20, outcome="timeout", at=datetime.now(UTC) - timedelta(hours=2))])
    ledger.ingest([call(21, model="n", outcome="client_error"), call(22, model="strange", outcome="timeout")])

    found = told(ledger)

    assert value(found, "llm_error_rate", model="m") == 0.5
    assert value(found, "llm_error_rate", model="n") is None
    assert value(found, "llm_error_rate", model="other") == 1


def test_each_outcome_of_a_group_is_there_from_its_first_call(ledger: Ledger) -> None:
    ledger.ingest([call(1)])
    labels = {"model": "m", "endpoint": "chat", "stream": "false", "upstream": "openai"}

    found = told(ledger)

    assert value(found, "llm_request_total", **labels, outcome="success") == 1
    assert value(found, "llm_request_total", **labels, outcome="timeout") == 0


def test_a_cost_that_nobody_knows_is_none_and_the_call_is_counted_as_unpriced(ledger: Ledger) -> None:
    ledger.ingest([call(1, cost=None)])

    found = told(ledger)

    assert value(found, "llm_cost_usd_total", model="m", upstream="openai") is None
    assert value(found, "llm_unpriced_request_total", model="m", upstream="openai") == 1
    assert value(found, "llm_priced_request_total", model="m", upstream="openai") == 0


def test_the_fullest_quota_of_a_kind_is_told_and_whose_it_is_only_if_users_are(ledger: Ledger) -> None:
    day = datetime.now(UTC).date().isoformat()
    for number, (user, tokens) in enumerate((("alice", 900), ("bob", 100), ("bob", 100))):
        ledger.ingest([call(number, user=user, quota_windows=(f"user:{user}:day:{day}",), quota_tokens=tokens)])

    alone, each = told(ledger), told(ledger, users=True)

    assert value(alone, "llm_quota_used_ratio", kind="user", period="day", unit="tokens") == 0.9
    assert value(alone, "llm_quota_used_ratio", kind="user", period="day", unit="requests") == 0.5
    assert value(each, "llm_quota_used_ratio", kind="user", period="day", unit="tokens", name="bob") == 0.2
    assert not any("alice" in str(labels) for _, labels in alone)


def test_users_are_told_only_where_they_are_asked_for(ledger: Ledger) -> None:
    ledger.ingest([call(1, user="alice"), call(2, user="bob"), call(3, user="bob")])

    assert value(told(ledger, users=True), "llm_user_request_total", user="bob") == 2
    assert not any("bob" in str(labels) for _, labels in told(ledger))


def test_jobs_tell_when_they_ran_how_long_and_whether_they_are_overdue(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    runs = ledger.job_runs
    fresh = told(ledger, since=now)
    run = runs.claim("audit", now - timedelta(days=40), 60, 3)
    assert run
    runs.finish(run, ok=False, result={}, took=2.5)
    runs.note("alerts", now, started_at=now, took=0.5, ok=True, result={})

    found = told(ledger, since=now - timedelta(days=1))

    assert [value(fresh, "llm_job_overdue", name=job.name) for job in JOBS] == [0, 0]
    assert [value(found, "llm_job_overdue", name=job.name) for job in JOBS] == [1, 0]
    assert value(found, "llm_job_last_ok", name="audit") == 0
    assert value(found, "llm_job_last_duration_seconds", name="audit") == 2.5
    at = value(found, "llm_job_last_run_timestamp_seconds", name="alerts")
    assert at is not None
    assert abs(at - now.timestamp()) < 60


def test_what_is_not_wanted_is_not_even_read(ledger: Ledger) -> None:
    ledger.ingest([call(1)])

    found = told(ledger, wanted=["error_rate"])

    assert {name for name, _ in found} == {"llm_error_rate"}
