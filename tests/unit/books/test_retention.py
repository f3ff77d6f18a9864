"""Old calls in a real ledger, with plugins that are behind, new, or gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from llm_one_api.books import retention
from llm_one_api.books.retention import FORGOTTEN_AFTER, Keeping, horizon, quarters_since, retain
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.retention import Place
from tests.harness.records import record

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
KEEPING = Keeping(records_days=10, quarters_days=20)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """One with a call a day for thirty days, the newest a day old."""
    ledger.ingest([record(n, at=NOW - timedelta(days=31 - n)) for n in range(1, 31)])
    return ledger


def at(ledger: Ledger, consumer: str, seq: int, silent: float = 0.0) -> None:
    lease = ledger.cursors.lease(consumer, "test", 60)
    assert lease
    ledger.cursors.release(lease, seq)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE cursors SET seen_at = seen_at - {silent} WHERE consumer = '{consumer}'")


def first(ledger: Ledger) -> int:
    return ledger.read(0, 1)[0].seq


def test_calls_are_deleted_when_they_are_old_and_every_plugin_had_them(ledger: Ledger) -> None:
    at(ledger, "log", 30)

    done = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)

    assert done.result["records"] == 20
    assert not done.more
    assert first(ledger) == 21
    numbers = ledger.audit.numbers()
    assert numbers.given == numbers.deleted + numbers.records


def test_nothing_but_quarters_is_deleted_where_calls_are_kept_for_good(ledger: Ledger) -> None:
    done = retain(ledger, [], Keeping(records_days=None, quarters_days=20), NOW)

    assert done.result["records"] == 0
    assert done.result["quarters"] > 0
    assert first(ledger) == 1
    kept = quarters_since(NOW, 20)
    assert list(ledger.rollups.differences(NOW - timedelta(days=40), NOW, quarters_since=kept)) == []


def test_a_plugin_that_is_behind_holds_back_and_that_is_said(ledger: Ledger) -> None:
    at(ledger, "log", 7)

    with capture_logs() as logs:
        done = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)

    told = [event for event in logs if event["event"] == "retention.held_back"]
    assert done.result["records"] == 7
    assert [(event["plugin"], event["after_seq"]) for event in told] == [("log", 7)]


def test_a_plugin_that_is_behind_with_what_is_kept_anyway_is_nobodys_business(ledger: Ledger) -> None:
    at(ledger, "log", 25)

    with capture_logs() as logs:
        done = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)

    assert done.result["records"] == 20
    assert [event["event"] for event in logs] == ["retention.deleted"]


def test_a_plugin_that_was_never_seen_holds_everything_back(ledger: Ledger) -> None:
    at(ledger, "log", 30)

    with capture_logs() as logs:
        done = retain(ledger, ["log", "new"], KEEPING, NOW, sleep=lambda _: None)

    assert done.result["records"] == 0
    assert [event["plugin"] for event in logs if event["event"] == "retention.held_back"] == ["new"]


def test_a_plugin_that_was_taken_out_holds_back_for_a_week_and_is_then_forgotten_aloud(ledger: Ledger) -> None:
    at(ledger, "log", 30)
    at(ledger, "gone", 3, silent=FORGOTTEN_AFTER - 60)
    within = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)
    at_first = first(ledger)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE cursors SET seen_at = seen_at - 120 WHERE consumer = 'gone'")

    with capture_logs() as logs:
        after = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)

    told = [event for event in logs if event["event"] == "retention.consumer_forgotten"]
    assert (within.result["records"], at_first) == (3, 4)
    assert after.result["records"] == 17
    assert [(event["plugin"], event["after_seq"], event["silent_days"]) for event in told] == [("gone", 3, 7)]


def test_a_plugin_in_the_config_is_never_forgotten(ledger: Ledger) -> None:
    at(ledger, "log", 3, silent=10 * FORGOTTEN_AFTER)

    done = retain(ledger, ["log"], KEEPING, NOW, sleep=lambda _: None)

    assert done.result["records"] == 3


def test_it_goes_in_small_steps_with_room_between_them_and_stops_when_its_time_is_over(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 4)
    pauses: list[float] = []

    done = retain(ledger, [], KEEPING, NOW, clock=lambda: len(pauses) * retention.RUN_FOR / 2, sleep=pauses.append)
    rest = retain(ledger, [], KEEPING, NOW, sleep=pauses.append)

    assert done.more
    assert done.result["records"] == 12
    assert rest.result["records"] == 8
    assert set(pauses) == {retention.PAUSE}


def test_a_plugin_that_is_set_back_meanwhile_is_heard(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 4)
    at(ledger, "log", 30)

    def set_back(_seconds: float) -> None:
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE cursors SET seq = 6")

    done = retain(ledger, ["log"], KEEPING, NOW, sleep=set_back)

    assert done.result["records"] == 6


def test_what_came_of_jobs_is_forgotten_after_a_year_and_more(ledger: Ledger) -> None:
    ledger.job_runs.claim("audit", NOW - timedelta(days=401), 1, 1)
    ledger.job_runs.claim("audit", NOW - timedelta(days=399), 1, 1)

    retain(ledger, [], KEEPING, NOW, sleep=lambda _: None)

    assert ledger.job_runs.begun("audit") == NOW - timedelta(days=399)


def test_a_ledger_without_plugins_holds_nothing_back() -> None:
    found = horizon([Place(consumer="old", seq=1, silent=FORGOTTEN_AFTER)], [], 9)

    assert (found.upto, found.holding) == (9, ())
    assert [place.consumer for place in found.forgotten] == ["old"]
