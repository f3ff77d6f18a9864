"""`llm-one-api deadletter` and `llm-one-api plugins`, as an operator runs them beside a ledger that is there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from llm_one_api.books.deliver import Pace, deliver
from llm_one_api.cli.deadletter import SHOWN
from llm_one_api.plugins import memory
from llm_one_api.plugins.interfaces import PluginContext
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.counters import connect
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Usage
from tests.harness import commands
from tests.harness.databases import give_tables
from tests.harness.plugins import install
from tests.harness.processes import ROOT, wait_until
from tests.harness.records import context, record

PLUGIN = """
from pathlib import Path
from llm_one_api.plugins.interfaces import StatsPlugin

class Picky(StatsPlugin):
    def record_response(self, response_info):
        number = int(response_info["request_id"].rpartition("-")[2])
        if str(number) in Path(self.config["refused"]).read_text().split():
            raise ValueError(f"no room for {number} at {self.config['url']}")
        with open(self.config["out"], "a") as out:
            print(number, file=out)
"""
SECRET = "postgresql://u:hunter2hunter2@h/stats"
ENOUGH = 6
"""Failures in a row after which it is plain that a plugin takes nothing."""
PACE = Pace(tries=1, retry_min=0.0001, retry_max=0.0001)


class Installed:
    """A ledger of calls of two days, the plugins `picky` and `memory`, and the config that says so."""

    def __init__(self, folder: Path, redis_url: str, path: Path) -> None:
        self.folder, self.redis_url = folder, redis_url
        self.path = path
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(self.url)
        self.ledger.ingest([record(number) for number in range(1, 7)])
        day = record(1).at.replace(day=13)
        self.ledger.ingest([record(number, at=day) for number in range(7, 11)])
        self.refuse(3, 5)
        self.config = folder / "config.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "auth": {"default_auth": {"api_keys": ["sk-test-admin-key-0001"]}},
                    "models": {"m": {"api_base": "http://127.0.0.1:9/v1", "api_key": "sk-upstream"}},
                    "plugins": {"stats": ["memory", "picky"]},
                    "stats": {"picky": self.section},
                    "redis": {"url": redis_url},
                    "ledger": {"url": self.url},
                    "timezone": "UTC",
                }
            )
        )

    @property
    def section(self) -> dict[str, str]:
        return {"out": str(self.folder / "out"), "refused": str(self.folder / "refused"), "url": SECRET}

    def refuse(self, *numbers: int) -> None:
        (self.folder / "refused").write_text(" ".join(map(str, numbers)))

    def deliver(self, name: str) -> None:
        where: PluginContext = context(self.folder, redis_url=self.redis_url)
        with closing(StatsPlugins(["memory", "picky"], {"picky": self.section}, where)) as plugins:

            def has_caught_up() -> bool:
                deliver(self.ledger, name, plugins, PACE)
                position = self.ledger.cursors.position(name)
                return position is not None and (position.seq == self.ledger.last_seq() or position.failures >= ENOUGH)

            wait_until(has_caught_up, every=0.001, what=f"{name} has caught up, or does not get on")

    def got(self) -> list[int]:
        return [int(line) for line in (self.folder / "out").read_text().split()]

    def ids(self, name: str) -> list[str]:
        return [str(letter.id) for letter in self.ledger.dead_letters.list(name)]

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        env = {"PYTHONPATH": f"{self.path}:{ROOT}"}
        return commands.run(*words, "--config", self.config, folder=self.folder, env=env, typed=typed)

    def counted(self) -> tuple[int, int, int]:
        """Tell what `memory` has: since, place, and how many calls."""
        with connect(self.redis_url) as client:
            view = memory.audit_view(client, "oneapi:")
        assert view is not None
        return view.since, view.place, sum(figures["requests"] for figures in view.totals.values())


@pytest.fixture
def installed(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    install(monkeypatch, tmp_path, {"stats": {"picky": "picky_plugin:Picky"}})
    path = next(tmp_path.glob("strangers*"))
    (path / "picky_plugin.py").write_text(PLUGIN)
    it = Installed(tmp_path, redis_url, path)
    yield it
    it.ledger.close()


def test_what_was_set_aside_is_listed_with_the_reason_and_without_secrets(installed: Installed) -> None:
    installed.deliver("picky")
    installed.ledger.ingest([record(50, usage=Usage(images=2**70))])

    listed = installed.run("deadletter", "list")
    as_json = installed.run("deadletter", "list", "picky", "--json")

    assert (listed.returncode, as_json.returncode) == (0, 0), listed.stderr + as_json.stderr
    lines = listed.stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[1:3] == ["picky", "3"]
    assert "ValueError: no room for 3 at ***" in lines[1]
    assert record(5).request_id in lines[2]
    assert lines[3].split()[1] == "ledger"
    first, _ = json.loads(as_json.stdout)
    assert (first["seq"], first["consumer"], first["record"]["request_id"]) == (3, "picky", record(3).request_id)
    assert "hunter2" not in listed.stdout + as_json.stdout


def test_a_person_is_shown_some_and_told_how_many_more_there_are_a_program_gets_all(installed: Installed) -> None:
    installed.ledger.ingest([record(100 + n, usage=Usage(images=2**70)) for n in range(SHOWN + 1)])

    shown = installed.run("deadletter", "list").stdout
    all_ = installed.run("deadletter", "list", "--json").stdout
    some = installed.run("deadletter", "list", "--json", "--limit", "3").stdout

    assert len(shown.splitlines()) == 1 + SHOWN + 2
    assert shown.splitlines()[-1] == f"1 more: --limit {SHOWN + 1} shows all."
    assert (len(json.loads(all_)), len(json.loads(some))) == (SHOWN + 1, 3)


def test_what_is_taken_at_the_second_go_is_no_dead_letter_any_more_and_the_rest_stays(installed: Installed) -> None:
    installed.deliver("picky")
    installed.refuse(5)

    some = installed.run("deadletter", "replay", "picky", "--all")
    left = installed.ledger.dead_letters.list()
    installed.refuse()
    rest = installed.run("deadletter", "replay", "picky", "--id", str(left[0].id))

    assert some.returncode == 1, some.stderr
    assert f"{record(3).request_id}  taken" in some.stdout
    assert f"{record(5).request_id}  stays: ValueError: no room for 5 at ***" in some.stdout
    assert [(letter.seq, letter.tries) for letter in left] == [(5, 3)]
    assert rest.returncode == 0, rest.stderr
    assert installed.ledger.dead_letters.list() == []
    assert sorted(installed.got()) == list(range(1, 11))
    assert installed.ledger.cursors.lease("picky", "next", 60) is not None


def test_a_record_of_memory_is_counted_once_at_the_second_go(installed: Installed) -> None:
    installed.deliver("memory")
    (kept,) = installed.ledger.read(1, 1)
    lease = installed.ledger.cursors.lease("memory", "me", 60)
    assert lease
    lease = installed.ledger.dead_letters.set_aside(lease, kept, "Redis was full", 8)
    assert lease
    installed.ledger.cursors.release(lease)
    before = installed.counted()

    done = installed.run("deadletter", "replay", "memory", "--all")

    assert done.returncode == 0, done.stderr
    assert installed.counted() == (before[0], before[1], before[2] + 1)
    assert installed.ledger.dead_letters.list() == []


def test_what_the_ledger_refused_goes_into_the_ledger_or_stays_with_the_new_reason(installed: Installed) -> None:
    installed.ledger.ingest([record(number, usage=Usage(images=2**70)) for number in (60, 61)])
    line = json.dumps(json.loads(installed.ledger.dead_letters.list("ledger")[0].line) | {"usage": {}})
    with installed.ledger._engine.begin() as connection:
        wrong = {"line": line, "id": record(60).request_id}
        connection.execute(text("UPDATE refused_records SET line = :line WHERE request_id = :id"), wrong)
        connection.execute(text("UPDATE refused_records SET reason = 'of another version'"))

    done = installed.run("deadletter", "replay", "ledger", "--all")

    assert done.returncode == 1, done.stderr
    assert f"{record(60).request_id}  taken" in done.stdout
    assert f"{record(61).request_id}  stays: images is no count" in done.stdout
    assert installed.ledger.find(record(60).request_id) is not None
    assert [letter.reason for letter in installed.ledger.dead_letters.list("ledger")] == ["images is no count"]


def test_what_is_dropped_is_asked_for_and_told(installed: Installed) -> None:
    installed.deliver("picky")
    first, second = installed.ids("picky")

    no = installed.run("deadletter", "drop", "picky", "--all", typed="n\n")
    kept = installed.ids("picky")
    yes = installed.run("deadletter", "drop", "picky", "--id", first, "--yes")

    assert no.returncode == 1
    assert "Drop 2 records of picky?" in no.stdout
    assert kept == [first, second]
    assert yes.returncode == 0, yes.stderr
    assert f"{record(3).request_id}  dropped" in yes.stdout
    assert installed.ids("picky") == [second]
    assert installed.ledger.find(record(3).request_id) is not None


def test_what_cannot_be_done_is_said(installed: Installed) -> None:
    cases = [
        (["deadletter", "list"], 0, "There are no dead letters."),
        (["deadletter", "drop", "picky"], 2, "Say which: --id ID"),
        (["deadletter", "drop", "picky", "--all"], 0, "There are no dead letters of picky."),
        (["deadletter", "replay", "picky", "--id", "7"], 1, "picky has no dead letter 7"),
        (["deadletter", "replay", "gone", "--all"], 1, "no stats plugin 'gone' is on (plugins.stats: memory, picky)"),
        (["plugins", "replay", "picky", "--since", "2025-13-01"], 2, "'2025-13-01' is no day"),
        (["plugins", "replay", "picky", "--since", "2026-01-01"], 0, "There are no calls since 2026-01-01."),
        (["plugins", "replay", "picky", "--since", "2025-11-01"], 0, "picky has not had the calls since 2025-11-01"),
    ]

    done = [installed.run(*words) for words, _, _ in cases]

    assert [each.returncode for each in done] == [code for _, code, _ in cases]
    for each, (_, _, wanted) in zip(done, cases, strict=True):
        assert wanted in each.stdout + each.stderr


def test_the_status_says_how_far_each_is_and_why_one_does_not_get_on(installed: Installed) -> None:
    installed.deliver("memory")
    installed.refuse(*range(4, 11))
    installed.deliver("picky")
    lease = installed.ledger.cursors.lease("old", "me", 60)
    assert lease
    installed.ledger.cursors.release(lease, 2)

    shown = installed.run("plugins", "status")
    as_json = installed.run("plugins", "status", "--json")

    assert shown.returncode == 0, shown.stderr
    _, first, second, third = shown.stdout.splitlines()
    assert first.split() == ["memory", "10", "0", "0", "-", "0", "fine"]
    assert second.split()[:3] == ["picky", "3", "7"]
    assert "ValueError: no room for 4 at ***" in second
    assert third.split()[:3] == ["old", "2", "8"]
    assert "not on" in third
    memory_, picky, old = json.loads(as_json.stdout)
    assert (memory_["plugin"], memory_["behind"], memory_["on"], memory_["error"]) == ("memory", 0, True, None)
    assert picky["failures"] > 1
    assert (old["plugin"], old["on"]) == ("old", False)


def test_a_plugin_is_set_back_to_a_day_and_gets_what_came_since_again(installed: Installed) -> None:
    installed.refuse(8)
    installed.deliver("picky")

    asked = installed.run("plugins", "replay", "picky", "--since", "2025-11-13", typed="n\n")
    before = installed.ledger.cursors.position("picky")
    done = installed.run("plugins", "replay", "picky", "--since", "2025-11-13", "--yes")
    installed.refuse()
    installed.deliver("picky")

    assert asked.returncode == 1
    assert "4 records since 2025-11-13 will go to picky again" in asked.stdout
    assert before
    assert before.seq == 10
    assert done.returncode == 0, done.stderr
    assert "picky goes on after record 6: 4 records come again" in done.stdout
    assert sorted(installed.got()) == [*range(1, 7), 7, 7, 8, 9, 9, 10, 10]
    assert installed.ledger.dead_letters.list() == []


def test_memory_is_set_back_too_and_counts_from_there(installed: Installed) -> None:
    installed.deliver("memory")
    before = installed.counted()

    done = installed.run("plugins", "replay", "memory", "--since", "2025-11-13", "--yes")
    meanwhile = installed.counted()
    installed.deliver("memory")

    assert done.returncode == 0, done.stderr
    assert (before, meanwhile, installed.counted()) == ((0, 10, 10), (6, 6, 0), (6, 10, 4))
