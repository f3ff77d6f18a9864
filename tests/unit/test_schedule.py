"""Beat's table, and the limits that go with it."""

from __future__ import annotations

from llm_one_api.books import jobs
from llm_one_api.books.deliver import Pace
from llm_one_api.broker import QUEUES, celery_options
from workers.schedule import HINT_EXPIRES, TICK_HARD_LIMIT, TICK_SOFT_LIMIT, beat_schedule


def test_every_plugin_is_looked_at_and_so_are_the_periodic_jobs() -> None:
    entries = beat_schedule(["log", "mine"]).values()

    assert [(entry["task"], entry.get("args")) for entry in entries] == [
        ("jobs.tick", None),
        ("quota.check", None),
        ("alerts.check", None),
        ("stats.deliver", ["log"]),
        ("stats.deliver", ["mine"]),
    ]
    assert {entry["options"]["queue"] for entry in entries} <= set(QUEUES)


def test_a_hint_outlives_the_deliveries_to_other_plugins_before_it() -> None:
    slow = [f"slow{number}" for number in range(10)]
    hints = [entry for entry in beat_schedule([*slow, "mine"]).values() if entry["task"] == "stats.deliver"]

    assert {hint["options"]["expires"] for hint in hints} == {HINT_EXPIRES}
    assert len(slow) * Pace().run_for < HINT_EXPIRES


def test_periodic_jobs_are_done_without_any_plugin() -> None:
    assert [entry["task"] for entry in beat_schedule([]).values()] == ["jobs.tick", "quota.check", "alerts.check"]


def test_quotas_are_looked_at_every_minute_whether_or_not_there_were_any_at_the_start() -> None:
    entry = beat_schedule([])["quotas"]

    assert (entry["task"], entry["schedule"]) == ("quota.check", 60.0)
    assert entry["options"] == {"queue": "jobs", "expires": 60.0}


def test_no_job_is_taken_up_by_another_while_it_may_still_run() -> None:
    visible = celery_options("redis://localhost", "")["broker_transport_options"]["visibility_timeout"]

    assert TICK_SOFT_LIMIT < TICK_HARD_LIMIT < jobs.LEASE <= visible
