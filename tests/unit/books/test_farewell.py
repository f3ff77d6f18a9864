"""What is said when the service stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.deliver import deliver
from llm_one_api.books.farewell import TakingPart, farewell
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.counters import connect
from llm_one_api.values import Usage
from tests.harness.processes import wait_until
from tests.harness.records import context, record
from tests.unit.books.shelf import Kept, Shelf
from tests.unit.plugins.test_summary import FOUNDING


def founding_calls() -> Iterator[Any]:
    """Give 150 calls that add up to the founding document's figures."""
    for number in range(150):
        few, many = (54, 150) if number < 120 else (70, 183)
        prompt, completion, duration = few, many, 1.5 if number < 120 else 2.5
        if number == 0:
            prompt, completion, duration = 6500 - 119 * few, 18000 - 119 * many, 180.5 - 119 * 1.5
        if number == 120:
            prompt, completion, duration = 2100 - 29 * few, 5500 - 29 * many, 75.3 - 29 * 2.5
        usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
        model = "gpt-3.5-turbo" if number < 120 else "gpt-4"
        yield record(number + 1, model=model, usage=usage, duration=duration)


@pytest.fixture
def where(tmp_path: Path, redis_url: str) -> Iterator[Any]:
    made = []

    def plugins(*names: str, **sections: Any) -> StatsPlugins:
        made.append(StatsPlugins(names, sections, context(tmp_path, redis_url=redis_url)))
        return made[-1]

    yield plugins
    for one in made:
        one.close()


class Away(Shelf):
    """A ledger that can be away."""

    away = False

    def read(self, after: int, limit: int) -> list[Kept]:
        if self.away:
            raise ConnectionError("the database is away")
        return super().read(after, limit)


def memory_of(folder: Path, redis_url: str) -> MemoryStatsPlugin:
    """Give a plugin that nobody else uses."""
    return MemoryStatsPlugin(PluginConfig({}, context(folder, redis_url=redis_url)))


def logged(folder: Path) -> str:
    path = folder / "logs/llm-one-api.log"
    return path.read_text() if path.exists() else ""


def test_the_block_is_printed_once_to_the_character_however_many_processes_stop(
    where: Any, tmp_path: Path, redis_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = Shelf(founding_calls())
    processes = {str(number): where("memory") for number in range(3)}
    memory = memory_of(tmp_path, redis_url)
    for who in processes:
        memory.join(who)
    memory.cleanup()
    deliver(ledger, "memory", processes["0"])

    for who, plugins in processes.items():
        assert capfd.readouterr().out == ""
        farewell(ledger, plugins, who)

    assert capfd.readouterr().out == FOUNDING + "\n"


def test_who_takes_part_is_waited_for_until_it_leaves(
    where: Any, tmp_path: Path, redis_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger, plugins = Shelf([record(1)]), where("memory")
    deliver(ledger, "memory", plugins)
    busy = TakingPart(memory_of(tmp_path, redis_url), "busy")
    with connect(redis_url) as client:
        wait_until(lambda: client.zscore("oneapi:memory:present", "busy"), what="it takes part")

    farewell(ledger, plugins, "me")
    early = capfd.readouterr().out
    busy.end()
    farewell(ledger, plugins, "busy")

    assert early == ""
    assert "总请求数: 1\n" in capfd.readouterr().out


def test_a_ledger_that_is_away_costs_the_summary_only_what_was_not_counted_yet(
    where: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger, plugins = Away([record(1)]), where("memory")
    deliver(ledger, "memory", plugins)
    ledger.away = True

    with capture_logs() as logs:
        farewell(ledger, plugins, "me")

    assert "总请求数: 1\n" in capfd.readouterr().out
    assert [line["event"] for line in logs] == ["farewell.failed"]


def test_calls_that_were_not_delivered_yet_are_in_it(where: Any, capfd: pytest.CaptureFixture[str]) -> None:
    ledger, plugins = Shelf([record(1)]), where("memory")
    deliver(ledger, "memory", plugins)
    ledger.records += [record(n) for n in range(2, 500)]
    ledger.cursors.lease("memory", "a process that was killed a moment ago", 60)

    farewell(ledger, plugins, "me")

    assert "总请求数: 499\n" in capfd.readouterr().out


def test_a_run_without_calls_prints_nothing(where: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ledger, plugins = Shelf(), where("log", "memory")
    deliver(ledger, "memory", plugins)

    farewell(ledger, plugins, "me")

    assert capfd.readouterr().out == ""
    assert logged(tmp_path) == ""


def test_it_covers_one_run(where: Any, capfd: pytest.CaptureFixture[str]) -> None:
    ledger = Shelf([record(1), record(2)])
    first, second = where("memory"), where("memory")
    deliver(ledger, "memory", first)
    farewell(ledger, first, "me")
    ledger.records.append(record(3))
    deliver(ledger, "memory", second)
    capfd.readouterr()

    farewell(ledger, second, "me")

    assert "总请求数: 1\n" in capfd.readouterr().out
    assert ledger.cursors.rows["memory"].since == 3


def test_the_next_run_begins_there_also_if_redis_forgot(
    where: Any, redis_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger, plugins = Shelf([record(1), record(2)]), where("memory")
    deliver(ledger, "memory", plugins)
    farewell(ledger, plugins, "me")
    with connect(redis_url) as client:
        client.flushall()
    ledger.records.append(record(3))
    deliver(ledger, "memory", plugins)
    capfd.readouterr()

    farewell(ledger, plugins, "me")

    assert "总请求数: 1\n" in capfd.readouterr().out


def test_a_json_log_gets_one_event_and_stays_json(where: Any, tmp_path: Path) -> None:
    ledger, plugins = Shelf(founding_calls()), where("log", "memory")
    deliver(ledger, "log", plugins)
    deliver(ledger, "memory", plugins)

    farewell(ledger, plugins, "me")

    events = [json.loads(line) for line in logged(tmp_path).splitlines()]
    assert [event["event"] for event in events] == ["response"] * 150 + ["memory.summary"]
    assert list(events[-1]) == ["event", "timestamp", "since", "total_requests", "models"]
    assert events[-1]["total_requests"] == 150
    assert events[-1]["models"]["gpt-4"] == {
        "requests": 30,
        "prompt_tokens": 2100,
        "completion_tokens": 5500,
        "total_tokens": 7600,
        "duration": 75.3,
        "avg_tokens": 253.333333,
        "avg_duration": 2.51,
    }


def test_a_text_log_gets_the_block(where: Any, tmp_path: Path) -> None:
    ledger, plugins = Shelf(founding_calls()), where("log", "memory", log={"format": "text"})
    deliver(ledger, "memory", plugins)

    farewell(ledger, plugins, "me")

    assert logged(tmp_path) == FOUNDING + "\n"


def test_without_the_log_plugin_the_log_file_is_left_alone(where: Any, tmp_path: Path) -> None:
    ledger, plugins = Shelf([record(1)]), where("memory")
    deliver(ledger, "memory", plugins)

    farewell(ledger, plugins, "me")

    assert not (tmp_path / "logs").exists()


def test_without_the_memory_plugin_nothing_is_said(where: Any, capfd: pytest.CaptureFixture[str]) -> None:
    farewell(Shelf([record(1)]), where("log"), "me")

    assert capfd.readouterr().out == ""


def test_a_redis_that_is_gone_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    plugins = StatsPlugins(["memory"], {}, context(tmp_path, redis_url=f"unix://{tmp_path}/nothing"))

    with capture_logs() as logs:
        farewell(Shelf([record(1)]), plugins, "me")
    plugins.close()

    assert {(line["event"], line["plugin"]) for line in logs} == {("farewell.failed", "memory")}


def test_a_log_file_that_cannot_be_written_costs_the_terminal_nothing(
    where: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    ledger, plugins = Shelf([record(1)]), where("log", "memory")
    deliver(ledger, "memory", plugins)

    with capture_logs() as logs:
        farewell(ledger, plugins, "me")

    assert "总请求数: 1\n" in capfd.readouterr().out
    assert [(line["event"], line["plugin"]) for line in logs] == [("farewell.failed", "log")]
