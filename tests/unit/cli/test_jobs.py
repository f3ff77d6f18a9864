"""`llm-one-api jobs`, over a ledger as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import jobs
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.processes import free_port
from tests.harness.records import record

SECRET = "s3cretpassword"


class Desk:
    """An operator at a terminal, where Redis is away."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        told = {
            "timezone": "Asia/Shanghai",
            "data_dir": str(folder / "data"),
            "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
            "redis": {"url": f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"},
            "limits": {"each_user": {"day": {"tokens": 1000}}},
        }
        self.config.write_text(json.dumps(told))
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(jobs.command, [*words, "--config", str(self.config)])

    def listed(self) -> dict[str, Any]:
        return {each["job"]: each for each in json.loads(self.run("list", "--json").output)}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    it = Desk(tmp_path)
    yield it
    it.ledger.close()


def test_a_job_is_done_by_hand_once_and_listed_with_what_came_of_it(desk: Desk) -> None:
    new = desk.listed()
    first = datetime.now(UTC) - timedelta(hours=1)
    desk.ledger.ingest([record(1, at=first)])
    just_put_on_the_timetable = desk.listed()
    os.utime(desk.config, (first.timestamp(), first.timestamp()))
    before = desk.listed()
    done, twice, again = (desk.run("run", "retention", *more) for more in ((), (), ("--again",)))
    after, table = desk.listed(), desk.run("list").output

    assert new["retention"]["last"] is None
    for listed in (new, just_put_on_the_timetable):
        assert [each["overdue"] for each in listed.values()] == [False] * len(new)
    assert before["retention"]["overdue"]
    assert (done.exit_code, json.loads(done.output)["records"]) == (0, 0)
    assert (twice.exit_code, again.exit_code) == (1, 0)
    assert "--again does it once more" in twice.output
    last = after["retention"]["last"]
    assert (last["ok"], after["retention"]["overdue"]) == (True, False)
    assert last["seconds"] >= 0
    assert last["finished_at"].endswith("+08:00")
    assert "retention" in table
    assert "PERIOD         FINISHED                    TOOK" in table  # only numbers are put to the right


def test_what_somebody_is_at_is_left_to_them(desk: Desk) -> None:
    begin = desk.ledger.job_runs.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    desk.ledger.job_runs.claim("retention", begin, 60, 3)

    done = desk.run("run", "retention", "--period", begin.isoformat())

    assert done.exit_code == 1
    assert "somebody is at retention" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nonsense",), "there are: retention"),
        (("export",), "export.enabled is false"),
        (("alerts", "--period", "2026-01-01"), "no periods"),
        (("audit", "--period", "2999-01-01"), "not over yet"),
        (("audit", "--period", "soon"), "Invalid"),
    ],
)
def test_what_is_no_job_or_no_period_is_told_in_words(desk: Desk, words: tuple[str, ...], told: str) -> None:
    done = desk.run("run", *words)

    assert done.exit_code in {1, 2}
    assert told in done.output


def test_a_job_that_needs_redis_says_that_it_is_away_and_keeps_that_it_failed(desk: Desk) -> None:
    done = desk.run("run", "quota-check")

    last = desk.listed()["quota-check"]["last"]
    assert done.exit_code == 1
    assert "cannot be asked" in done.output
    assert SECRET not in done.output
    assert (last["ok"], last["result"]) == (False, {"error": "ConnectionError"})
