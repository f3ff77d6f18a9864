"""`llm-one-api verify` beside a running product, whose books are tampered with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import redis

from llm_one_api.broker import JOBS, sender, waiting
from llm_one_api.cli import embedded_valkey
from llm_one_api.stores.journal.segments import ACKED, list_segments
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Amount
from tests.harness import commands
from tests.harness.processes import ROOT, wait_until
from tests.harness.product import Product, config, product
from tests.harness.upstream import Upstream, json_answer, scripted

CALLS = 6
EVER = "all:total:ever"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    usage = {"prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170}
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "model": "demo", "choices": [choice], "usage": usage}
    with scripted() as it:
        it.answer(json_answer(200, json.dumps(body).encode()))
        yield it


@pytest.fixture(scope="module")
def installed(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One with some calls in its books, its journal carried away, and the jobs that are due done.

    Beat hints at those after a minute, and they would find what a test has just tampered with.
    """
    limits = {"everyone": {"total": {"tokens": 10_000_000}}}
    settings = config(provider.url, journal={"segment_seconds": 0.2}, limits=limits)
    with product(tmp_path_factory.mktemp("product"), settings) as it:
        for _ in range(CALLS):
            assert it.call().status_code == 200
        settle(it, CALLS)
        do_the_jobs(it)
        yield it


def settle(it: Product, calls: int) -> None:
    """Wait until all is counted, and until the journal's folder holds no finished segment."""
    journal = it.folder / "data" / "journal"
    wait_until(lambda: it.get("/v1/stats/memory")["total_requests"] == calls, what="the memory plugin has them")
    wait_until(
        lambda: (
            len(list_segments(journal / ACKED)) >= 1
            and all((journal / str(name)).stat().st_size < 100 for name in list_segments(journal))
        ),
        what="the segments are acked",
    )


ONCE_A_PERIOD = (
    "SELECT job, max(tries) FROM job_runs WHERE job NOT IN ('alerts', 'quota-check') GROUP BY job ORDER BY job"
)
"""Those two are done each minute, and noted."""


def do_the_jobs(it: Product) -> None:
    """Hint at them three times, and wait until all hints are taken and each job has run."""
    url = embedded_valkey.url_of(it.folder / "data")
    assert url is not None
    beat, ledger = sender(url, "oneapi:"), Ledger(it.ledger_url)
    for _ in range(3):
        beat.send_task("jobs.tick", queue=JOBS, expires=60)
    for job in ("retention", "audit"):
        wait_until(lambda job=job: ledger.job_runs.last(job), what=f"{job} is done")  # type: ignore[misc]
    wait_until(lambda: waiting(beat, JOBS) == 0, what="all ticks are taken")
    beat.close()
    ledger.close()


def verify(it: Product, *words: str) -> subprocess.CompletedProcess[str]:
    return commands.run("verify", *words, "--config", it.config, folder=it.folder)


def states(it: Product, *words: str) -> tuple[int, dict[str, Any]]:
    """Give the exit code, and what each check says."""
    done = verify(it, "--json", *words)
    assert done.stderr == ""
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)["checks"]}


def differing(checks: dict[str, Any]) -> set[str]:
    return {name for name, each in checks.items() if each["state"] == "differs"}


def sql(it: Product, statement: str) -> None:
    ledger = Ledger(it.ledger_url)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(statement)
    ledger.close()


def counted(it: Product) -> redis.Redis:
    """Connect to the Redis that the product runs."""
    url = embedded_valkey.url_of(it.folder / "data")
    assert url is not None
    return redis.Redis(unix_socket_path=unquote(url.removeprefix("unix://")))


def test_untouched_books_agree_and_that_is_said_in_a_line_a_check(installed: Product) -> None:
    said = verify(installed)

    assert (said.returncode, said.stderr) == (0, "")
    assert f"segments   agree        calls in this machine's journal = records: {CALLS} calls" in said.stdout
    assert "sequence   agree        numbers given = records + deleted by retention: " in said.stdout
    assert f"rollups    agree        sums by quarters and hours = records: {CALLS} records" in said.stdout
    assert (
        "quotas     agree        quota sums = records; booked in Redis = quota sums - resets: 1 windows" in said.stdout
    )
    assert f"memory     agree        the memory plugin's totals = records of its run: {CALLS} records" in said.stdout
    assert said.stdout.endswith("\nAll that was compared agrees.\n")


def test_a_day_without_calls_agrees_too(installed: Product) -> None:
    code, checks = states(installed, "--day", "2020-02-29")

    assert code == 0
    assert checks["rollups"]["compared"] == {"records": 0, "sums": 0}


def test_a_sum_that_was_changed_is_found_alone_and_repaired(installed: Product) -> None:
    sql(installed, "UPDATE rollups_hour SET prompt_tokens = prompt_tokens + 1")

    found = verify(installed)
    repaired = verify(installed, "--repair")

    assert found.returncode == 1
    assert "rollups    DIFFER (1)" in found.stdout
    assert "prompt_tokens" in found.stdout
    assert found.stdout.count("DIFFER") == 1
    assert "1 difference can be put right: llm-one-api verify --repair" in found.stdout
    assert repaired.returncode == 0
    assert "rollups    agree again (1 repaired)" in repaired.stdout


def test_live_totals_that_were_changed_are_found_alone_and_counted_anew(installed: Product) -> None:
    with counted(installed) as client:
        [field] = [name for name in client.hkeys("oneapi:memory:totals") if name.startswith(b"requests")]
        client.hincrby("oneapi:memory:totals", field.decode(), 5)

    code, found = states(installed)
    repaired, _ = states(installed, "--repair")

    wait_until(lambda: installed.get("/v1/stats/memory")["total_requests"] == CALLS, what="it has counted anew")
    again, checks = states(installed)
    assert (code, differing(found)) == (1, {"memory"})
    assert found["memory"]["differences"][0]["says"] == {"records": CALLS, "memory": CALLS + 5}
    assert (repaired, again) == (0, 0)
    assert checks["memory"]["compared"]["records"] == CALLS


def test_a_hint_has_what_redis_says_of_quotas_put_right(installed: Product) -> None:
    url = embedded_valkey.url_of(installed.folder / "data")
    assert url is not None
    store, beat = LimitStore(url, "oneapi:"), sender(url, "oneapi:")
    counter = f"oneapi:limits:w:{EVER}"
    before = store.windows([EVER])[EVER].booked
    with counted(installed) as client:
        client.hincrby(counter, "bt", 5)

    beat.send_task("quota.check", queue=JOBS, expires=60)
    wait_until(lambda: store.windows([EVER])[EVER].booked == before, what="it is put right")
    beat.close()
    store.close()

    assert before == Amount(170 * CALLS, CALLS, 0)


def test_a_record_that_was_deleted_is_brought_back_from_the_journal_with_all_that_is_made_of_it(
    installed: Product,
) -> None:
    [lost, *_] = installed.newest()
    sql(installed, f"DELETE FROM records WHERE request_id = '{lost['request_id']}'")

    _, found = states(installed)
    repaired, left = states(installed, "--repair")

    wait_until(lambda: installed.get("/v1/stats/memory")["total_requests"] == CALLS, what="it has counted anew")
    back = installed.record(lost["request_id"])
    sql(installed, "UPDATE ledger_seq SET deleted = deleted + 1")
    known, _ = states(installed)
    assert differing(found) == {"segments", "sequence", "rollups", "quotas", "memory"}
    assert [each["what"]["request_id"] for each in found["segments"]["differences"]] == [lost["request_id"]]
    assert (repaired, differing(left)) == (1, {"sequence"})
    assert back == lost
    assert known == 0


def test_however_many_ticks_come_each_job_runs_once_for_its_period(installed: Product) -> None:
    ledger = Ledger(installed.ledger_url)

    done = [ledger.job_runs.last(job) for job in ("retention", "audit")]
    with ledger._engine.connect() as connection:
        tries = connection.exec_driver_sql(ONCE_A_PERIOD).all()
    ledger.close()

    assert [each is not None and each.ok for each in done] == [True, True]
    assert done[0] is not None
    assert done[1] is not None
    assert done[0].result == {"records": 0, "quarters": 0}
    assert done[1].result["checks"] == {
        "segments": "agrees", "sequence": "agrees", "rollups": "agrees", "quotas": "agrees", "memory": "agrees",
        "periods": "agrees", "exports": "elsewhere", "set aside": "told",
    }  # fmt: skip
    assert [tuple(each) for each in tries] == [("audit", 1), ("retention", 1), ("sums", 1)]


def test_all_that_beat_sends_is_a_task_that_is_there_and_does_not_wait_for_ever(installed: Product) -> None:
    code = (
        "from workers.celery_app import app; app.loader.import_default_modules()\n"
        "for entry in app.conf.beat_schedule.values():\n"
        "    assert entry['task'] in app.tasks, entry\n"
        "    assert entry['options']['expires'] <= 60, entry\n"
        "    print(entry['task'])\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed.folder,
        env={**os.environ, "LLM_ONE_API_CONFIG": str(installed.config), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert said.stderr == ""
    assert sorted(said.stdout.split()) == [
        "alerts.check", "jobs.tick", "quota.check", "stats.deliver", "stats.deliver",
    ]  # fmt: skip


def test_what_is_away_is_neither_agreement_nor_difference(installed: Product, tmp_path: Path) -> None:
    elsewhere = tmp_path / "config.yaml"
    written = json.loads(installed.config.read_text())
    ledger = {"url": installed.ledger_url}

    elsewhere.write_text(json.dumps({**written, "ledger": ledger, "redis": {"url": "redis://127.0.0.1:1/0"}}))
    no_redis = commands.run("verify", "--config", elsewhere, folder=tmp_path)
    elsewhere.write_text(json.dumps(written))
    no_ledger = commands.run("verify", "--config", elsewhere, folder=tmp_path)

    assert no_redis.returncode == 2
    assert "memory     NOT CHECKED" in no_redis.stdout
    assert "Redis is away (ConnectionError)" in no_redis.stdout
    assert "segments   not here" in no_redis.stdout
    assert "No difference was found, but not all could be checked." in no_redis.stdout
    assert no_ledger.returncode == 2
    assert "there is no ledger" in no_ledger.stderr
