"""Stats plugins that hang, eat memory, leak, exit or crash: a real worker, in which they harm nobody else.

One worker has them all, for some seconds: what each does to the others is what is tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from llm_one_api.broker import DELIVER, sender
from llm_one_api.plugins import memory
from llm_one_api.stores.counters import connect
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.plugins import install
from tests.harness.processes import BIN, ROOT, Process, wait_until
from tests.harness.records import record
from tests.harness.services import Valkey, valkey

MB = 2**20
RECORDS, POISON = 30, 7
LIMIT = 160 * MB

PLUGINS = """
import ctypes, os, sys, time
from llm_one_api.plugins.interfaces import StatsPlugin

LEAKED = []

class Fine(StatsPlugin):
    def record_response(self, response_info):
        number = int(response_info["request_id"].rpartition("-")[2])
        if number == 7:
            self.meet_poison()
        with open(self.config["out"], "a") as out:
            print(number, file=out)

    def meet_poison(self):
        pass

class Hangs(Fine):
    def meet_poison(self):
        time.sleep(1000)

class Hungry(Fine):
    def meet_poison(self):
        eaten = []
        while True:
            eaten.append(bytearray(2**24))

class Exits(Fine):
    def meet_poison(self):
        sys.exit(1)

class Vanishes(Fine):
    def meet_poison(self):
        os._exit(1)

class Crashes(Fine):
    def meet_poison(self):
        ctypes.string_at(0)

class Leaks(Fine):
    def record_response(self, response_info):
        LEAKED.append(bytearray(2**23))
        super().record_response(response_info)
"""
BAD = ("hangs", "hungry", "exits", "vanishes", "crashes")
STRANGERS = (*BAD, "leaks", "fine")
NAMES = ("log", "memory", *STRANGERS)


class Worker:
    """A deliver worker with all of the plugins, its ledger and its Redis."""

    def __init__(self, folder: Path, redis: Valkey, path: Path) -> None:
        self.folder = folder
        self.redis = redis
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.ledger.ingest([record(number) for number in range(1, RECORDS + 1)])
        config = folder / "config.yaml"
        config.write_text(json.dumps(self.config()))
        argv: list[str | Path] = [BIN / "celery", "-A", "workers.celery_app", "--quiet", "worker"]
        self.process = Process(
            "worker",
            [*argv, "-Q", "deliver", "-c", "2", "-l", "WARNING"],
            folder=folder,
            env={"LLM_ONE_API_CONFIG": str(config), "PYTHONPATH": f"{path}:{ROOT}"},
        )
        self.app = sender(redis.url, "oneapi:")

    def config(self) -> dict[str, object]:
        return {
            "auth": {"default_auth": {"api_keys": ["sk-test-admin-key-0001"]}},
            "models": {"m": {"api_base": "http://127.0.0.1:9/v1", "api_key": "sk-upstream"}},
            "plugins": {"stats": list(NAMES)},
            "stats": {name: {"out": str(self.folder / f"{name}.txt")} for name in STRANGERS},
            "redis": {"url": self.redis.url},
            "ledger": {"url": f"sqlite:///{self.folder / 'ledger.db'}"},
            "logging": {"file": str(self.folder / "log.txt")},
            "delivery": {
                "call_timeout": 1.5, "lease": 30, "tries": 2, "retry_min": 0.05, "retry_max": 0.2, "max_memory": LIMIT,
            },
        }  # fmt: skip

    def have_had_all(self) -> bool:
        """Tell whether all plugins have; hint at those that have not, as beat does."""
        assert self.process.alive, self.process.text()[-3000:]
        places = {each.consumer: each.seq for each in self.ledger.cursors.positions()}
        behind = [name for name in NAMES if places.get(name, 0) < RECORDS]
        for name in behind:
            self.app.send_task("stats.deliver", [name], queue=DELIVER, expires=5)
        return not behind

    def got(self, name: str) -> list[int]:
        return [int(line) for line in (self.folder / f"{name}.txt").read_text().split()]

    def close(self) -> None:
        self.process.kill()
        self.ledger.close()
        self.app.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One whose plugins have all had what there is, in one way or the other."""
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch, valkey(folder / "valkey") as redis:
        install(patch, folder, {"stats": {name: f"bad_plugins:{name.capitalize()}" for name in STRANGERS}})
        path = next(folder.glob("strangers*"))
        (path / "bad_plugins.py").write_text(PLUGINS)
        with closing(Worker(folder, redis, path)) as it:
            wait_until(it.have_had_all, timeout=60, what="all plugins have had all records", every=0.1)
            yield it


ALL = list(range(1, RECORDS + 1))
REASONS = {
    "hangs": "TimeoutError: record_response took longer than 1.5 s",
    "hungry": "MemoryError",
    "exits": "SystemExit: 1",
    "vanishes": "its process ended 2 times while it had this record in hand",
    "crashes": "its process ended 2 times while it had this record in hand",
}


def test_one_that_is_fine_gets_every_record_once_and_in_order(worker: Worker) -> None:
    assert worker.got("fine") == ALL


def test_so_do_the_built_in_ones(worker: Worker) -> None:
    with connect(worker.redis.url) as client:
        counted = memory.audit_view(client, "oneapi:")
    log = (worker.folder / "log.txt").read_text()

    assert counted
    assert (counted.since, counted.place) == (0, RECORDS)
    assert sum(figures["requests"] for figures in counted.totals.values()) == RECORDS
    assert log.count('"event":"response"') == RECORDS


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_gets_all_but_the_record_that_it_cannot_take_which_is_set_aside(worker: Worker, name: str) -> None:
    (letter,) = worker.ledger.dead_letters.list(name)

    assert (letter.seq, letter.request_id) == (POISON, record(POISON).request_id)
    assert REASONS[name] in letter.reason
    assert set(worker.got(name)) == {*ALL} - {POISON}


def test_one_that_leaks_gets_all_and_its_process_is_replaced_before_it_harms_others(worker: Worker) -> None:
    said = worker.process.text()

    assert set(worker.got("leaks")) == set(ALL)
    assert worker.ledger.dead_letters.list("leaks") == []
    grew = [line for line in said.split("\n") if "worker.process_grew" in line]
    assert any("['leaks']" in line for line in grew)
    for line in grew:
        pid = int(line.split(" pid=")[1].split()[0])
        wait_until(lambda pid=pid: not psutil.pid_exists(pid), what="the process that grew has ended")  # type: ignore[misc]


def test_nothing_of_any_other_plugin_is_set_aside_or_failed(worker: Worker) -> None:
    failed = [line for line in worker.process.text().split("\n") if "plugin.failed" in line]
    named = {name for name in NAMES if any(f"plugin={name} " in line for line in failed)}

    assert worker.ledger.dead_letters.count() == dict.fromkeys(BAD, 1)
    assert {"hangs", "hungry", "exits"} <= named
    assert named.isdisjoint({"log", "fine"})
