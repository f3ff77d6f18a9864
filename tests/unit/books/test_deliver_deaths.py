"""Plugins that take their process with them: real processes that die, one delivery each, with a real ledger."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.plugins import entry_points
from tests.harness.processes import Process
from tests.harness.records import record

PLUGIN = """
import ctypes, os, pathlib
from llm_one_api.plugins.interfaces import ExactStatsPlugin, StatsPlugin

def number_of(info):
    return str(int(info["request_id"].rpartition("-")[2]))

def hang(url):
    import psycopg2
    psycopg2.connect(url)

WAYS = {
    "segfault": lambda config: ctypes.string_at(0),
    "_exit": lambda config: os._exit(3),
    "kill": lambda config: os.kill(os.getpid(), 9),
    "hang": lambda config: hang(config["server"]),
    "raise": lambda config: 1 / 0,
}

class Deadly(StatsPlugin):
    def __init__(self, config):
        super().__init__(config)
        self.meet("made")

    def meet(self, what):
        if way := self.config["trouble"].get(what):
            WAYS[way](self.config)

    def record_response(self, response_info):
        number = number_of(response_info)
        self.meet(number)
        with open(self.config["out"], "a") as out:
            print(number, file=out)

class Exactly(ExactStatsPlugin):
    def __init__(self, config):
        super().__init__(config)
        self.out = pathlib.Path(config["out"])

    def position(self, since):
        return int(self.out.read_text().split()[0]) if self.out.exists() else since

    def record_batch(self, after, upto, infos):
        if self.position(0) != after:
            return False
        numbers = [number_of(info) for info in infos]
        for number in numbers:
            if way := self.config["trouble"].get(number):
                WAYS[way](self.config)
        seen = self.out.read_text().split()[1:] if self.out.exists() else []
        self.out.write_text(" ".join([str(upto), *seen, *numbers]))
        return True
"""

DELIVERIES = """
import json, os, socket, sys
from pathlib import Path
from llm_one_api.books.deliver import Pace, deliver
from llm_one_api.plugins import timelimit
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import context

timelimit.EVERY = 0.05
with socket.socket(fileno=int(sys.argv[1])) as test, test.makefile("rw") as lines:
    for line in lines:
        url, folder, strangers, name, section, times, limit = json.loads(line)
        for _ in range(times):
            pid = os.fork()
            if pid == 0:
                sys.path.insert(0, strangers)
                said = os.open(f"{folder}/said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(said, 1)
                os.dup2(said, 2)
                plugins = StatsPlugins([name], {name: section}, context(Path(folder)), call_timeout=limit, grace=0.1)
                deliver(Ledger(url), name, plugins, Pace(tries=2, retry_min=0.001, retry_max=0.002, chunk=4))
                os._exit(0)
            os.waitpid(pid, 0)
        print("done", file=lines, flush=True)
"""
"""Deliveries are forked off a process that has imported what they need, which takes longer than they do."""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Ask for deliveries; gives the answer when they are over."""
    here, there = socket.socketpair()
    here.settimeout(60)
    with here, there, here.makefile("rw") as lines:
        argv = [sys.executable, "-c", DELIVERIES, str(there.fileno())]
        folder = tmp_path_factory.mktemp("deliveries")
        process = Process("deliveries", argv, folder=folder, pass_fds=[there.fileno()])
        there.close()

        def _ask(line: str) -> str:
            print(line, file=lines, flush=True)
            return lines.readline()

        try:
            yield _ask
        finally:
            process.kill()


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    ledger.ingest([record(number) for number in range(1, 13)])
    return ledger


@pytest.fixture
def run(tmp_path: Path, ledger: Ledger, ask: Callable[[str], str]) -> Run:
    """Deliver so many times, each in a process of its own; gives what they have said."""
    kinds = {name: f"a_deadly_module:{name.capitalize()}" for name in ("deadly", "exactly")}
    strangers = entry_points(tmp_path, {"stats": kinds})
    (strangers / "a_deadly_module.py").write_text(PLUGIN)

    def _run(times: int, name: str = "deadly", server: str = "", limit: float = 10, **trouble: str) -> str:
        section = {"trouble": trouble, "out": str(tmp_path / "out"), "server": server}
        asked = [str(ledger._engine.url), str(tmp_path), str(strangers), name, section, times, limit]
        assert ask(json.dumps(asked)) == "done\n"
        return (tmp_path / "said").read_text()

    return _run


def kept(folder: Path) -> list[int]:
    return [int(number) for number in (folder / "out").read_text().split()]


def without(*numbers: int) -> list[int]:
    return [number for number in range(1, 13) if number not in numbers]


def letters(ledger: Ledger) -> dict[int | None, str]:
    return {letter.seq: letter.reason for letter in ledger.dead_letters.list()}


@pytest.mark.parametrize("way", ["segfault", "_exit", "kill"])
def test_a_record_with_which_the_process_ends_is_found_out_and_set_aside(
    run: Run, ledger: Ledger, tmp_path: Path, way: str
) -> None:
    said = run(9, **{"7": way})

    assert letters(ledger) == {7: "its process ended 2 times while it had this record in hand"}
    assert set(kept(tmp_path)) == set(without(7))
    assert kept(tmp_path).count(8) == 1
    assert said.count("delivery.process_ended") == 3
    position: Any = ledger.cursors.position("deadly")
    assert (position.seq, position.failures) == (12, 0)


def test_the_last_record_is_found_out_too(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    run(9, **{"12": "segfault"})

    assert list(letters(ledger)) == [12]
    assert set(kept(tmp_path)) == set(without(12))


def test_so_it_is_with_an_exact_plugin_which_counts_the_others_once(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    run(9, "exactly", **{"7": "segfault"})

    assert list(letters(ledger)) == [7]
    assert kept(tmp_path) == [12, *without(7)]


def test_a_plugin_that_cannot_be_made_without_ending_its_process_costs_no_record(
    run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    run(8, made="segfault")
    run(2)

    assert letters(ledger) == {}
    assert kept(tmp_path) == without()


def test_one_that_refuses_a_record_and_dies_with_the_next_gets_all_the_others(
    run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    run(14, **{"5": "raise", "6": "segfault"})

    assert set(letters(ledger)) == {5, 6}
    assert set(kept(tmp_path)) == set(without(5, 6))


def test_a_record_at_which_it_hangs_for_good_is_set_aside_while_it_takes_others(
    run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        run(8, limit=0.5, server=f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d", **{"3": "hang"})

    assert letters(ledger) == {3: "record_response took longer than 0.5 s and cannot be ended"}
    assert set(kept(tmp_path)) == set(without(3))
