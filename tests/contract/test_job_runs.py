"""Periods of jobs, claimed by whoever comes first, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from llm_one_api.stores.ledger.jobs import Run
from llm_one_api.stores.ledger.ledger import Ledger

DAY = datetime(2026, 11, 23, 16, tzinfo=UTC)
"""A day that begins at midnight in Shanghai."""


def test_a_period_is_for_one_of_many(ledger: Ledger, url: str) -> None:
    got: list[Run | None] = []

    def claim() -> None:
        mine = Ledger(url)
        got.append(mine.job_runs.claim("audit", DAY, 60, 3))
        mine.close()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got, key=str) == [None] * 5 + [Run(job="audit", period=DAY, tries=1)]


def test_what_is_finished_is_not_to_be_had_again_and_keeps_its_result(ledger: Ledger) -> None:
    run = ledger.job_runs.claim("audit", DAY, 60, 3)
    assert run

    done = ledger.job_runs.finish(run, ok=False, result={"differences": {"rollups": 2}})

    last = ledger.job_runs.last("audit")
    assert done
    assert ledger.job_runs.claim("audit", DAY, 60, 3) is None
    assert ledger.job_runs.finished("audit", DAY) == {DAY}
    assert last is not None
    assert (last.period, last.ok, last.result) == (DAY, False, {"differences": {"rollups": 2}})
    assert ledger.job_runs.last("retention") is None


def test_who_died_in_the_middle_is_followed_by_another_and_finishes_nothing_any_more(ledger: Ledger) -> None:
    dead = ledger.job_runs.claim("audit", DAY, -1, 3)
    assert dead

    other = ledger.job_runs.claim("audit", DAY, 60, 3)

    assert other == Run(job="audit", period=DAY, tries=2)
    assert not ledger.job_runs.finish(dead, ok=True, result={})
    assert not ledger.job_runs.put_off(dead, 5)
    assert not ledger.job_runs.go_on(dead)
    assert ledger.job_runs.finish(other, ok=True, result={})


def test_one_whose_time_is_over_may_finish_if_nobody_followed(ledger: Ledger) -> None:
    late = ledger.job_runs.claim("audit", DAY, -1, 3)
    assert late

    assert ledger.job_runs.finish(late, ok=True, result={})
    assert ledger.job_runs.claim("audit", DAY, 60, 3) is None


def test_what_failed_is_left_alone_for_a_while(ledger: Ledger) -> None:
    runs = ledger.job_runs
    for wait, again in ((60.0, None), (-1.0, Run(job="b", period=DAY, tries=2))):
        job = "a" if again is None else "b"
        first = runs.claim(job, DAY, 60, 3)
        assert first

        runs.put_off(first, wait)

        assert runs.claim(job, DAY, 60, 3) == again


def test_what_failed_or_is_over_with_can_be_taken_up_again_at_once_unless_it_is_held(ledger: Ledger) -> None:
    runs = ledger.job_runs
    failed = runs.claim("failed", DAY, 60, 3)
    done = runs.claim("done", DAY, 60, 3)
    assert failed
    assert done
    runs.put_off(failed, 60, took=1.5)
    runs.finish(done, ok=True, result={}, took=2.0)
    runs.claim("held", DAY, 60, 3)

    for job in ("failed", "done", "held"):
        runs.reopen(job, DAY)

    assert [runs.claim(job, DAY, 60, 3) is not None for job in ("failed", "done", "held")] == [True, True, False]


def test_it_is_known_when_a_run_began_and_how_long_it_took_in_all(ledger: Ledger) -> None:
    runs = ledger.job_runs
    for took in (1.5, 2.0):
        run = runs.claim("audit", DAY, 60, 3)
        assert run
        runs.put_off(run, -1, took=took)
    run = runs.claim("audit", DAY, 60, 3)
    assert run
    runs.finish(run, ok=True, result={}, took=0.25)

    last, of = runs.last("audit"), runs.of("audit", DAY)

    assert last is not None
    assert (last, last.seconds) == (of, 3.75)
    assert last.started_at is not None
    assert last.started_at <= last.finished_at


def test_what_has_more_to_do_goes_on_at_once_however_often(ledger: Ledger) -> None:
    for _ in range(5):
        run = ledger.job_runs.claim("retention", DAY, 60, 3)
        assert run == Run(job="retention", period=DAY, tries=1)
        assert ledger.job_runs.go_on(run)


def test_an_overtaken_run_stays_overtaken_when_the_other_goes_on(ledger: Ledger) -> None:
    old = ledger.job_runs.claim("retention", DAY, -1, 3)
    other = ledger.job_runs.claim("retention", DAY, 60, 3)
    assert old
    assert other
    ledger.job_runs.go_on(other)

    assert not ledger.job_runs.finish(old, ok=True, result={})


def test_after_so_many_tries_it_is_given_up_but_not_while_somebody_is_at_it(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.job_runs.claim("audit", DAY, -1, 3)
    last = ledger.job_runs.claim("audit", DAY, 60, 3)
    assert last
    early = ledger.job_runs.give_up(3)
    ledger.job_runs.put_off(last, -1)

    given_up = ledger.job_runs.give_up(3)

    told = ledger.job_runs.last("audit")
    assert early == []
    assert given_up == [last]
    assert ledger.job_runs.give_up(3) == []
    assert told is not None
    assert (told.ok, told.result) == (False, {"error": "gave up"})


def test_jobs_know_when_they_began_and_forget_what_is_long_ago(ledger: Ledger) -> None:
    begun_before = ledger.job_runs.begun("audit")
    for days in range(3):
        ledger.job_runs.claim("audit", DAY + timedelta(days=days), 60, 3)
    begun = ledger.job_runs.begun("audit")

    gone = ledger.job_runs.prune(DAY + timedelta(days=2))

    assert (begun_before, begun, gone) == (None, DAY, 2)
    assert ledger.job_runs.begun("audit") == DAY + timedelta(days=2)


def test_the_time_is_that_of_the_database(ledger: Ledger) -> None:
    assert abs(ledger.job_runs.now() - datetime.now(UTC)) < timedelta(seconds=60)
