"""`llm-one-api bench pipeline`: it measures the product's own parts, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.processes import BIN, Process, wait_until
from tests.harness.records import record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def bench(folder: Path, *options: str) -> Process:
    argv: list[str | Path] = [BIN / "llm-one-api", "bench", "pipeline", *options]
    return Process("bench", argv, folder=folder, env={"TMPDIR": str(folder / "tmp")})


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    it = Ledger(f"sqlite:///{folder}/other.db")
    it.upgrade()
    yield it
    it.close()


def family(process: Process) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def test_all_records_arrive_and_each_part_is_told_of(folder: Path) -> None:
    it = bench(folder, "--records", "700", "--json")
    code = it.popen.wait(90)

    text = it.text()
    assert code == 0, text[-3000:]
    told = json.loads(text[text.index("\n{\n") :].partition("\n}\n")[0] + "\n}")
    assert (told["records"], told["complete"], told["faults"]) == (700, True, [])
    assert (told["ledger"], told["broker"], told["restarts"]) == ("SQLite", "Valkey", 0)
    assert told["curve"][-1] == {**told["curve"][-1], "ledger": 700, "log": 700, "memory": 700}
    assert {each["name"] for each in told["processes"]} >= {
        "relay", "valkey", "worker-ingest", "worker-ingest, pool", "worker-deliver", "worker-deliver, pool",
    }  # fmt: skip
    assert all(each["peak_mb"] > 1 for each in told["processes"])
    assert told["gateway_cpu_us_per_call"] > 0
    assert list((folder / "tmp").iterdir()) == []


def test_a_ledger_with_records_is_left_alone(folder: Path, ledger: Ledger) -> None:
    ledger.ingest([record(1)])

    it = bench(folder, "--records", "10", "--ledger", f"sqlite:///{folder}/other.db")

    assert it.popen.wait(60) == 1
    assert "has records" in it.text()
    assert ledger.last_seq() == 1


def test_ctrl_c_ends_everything(folder: Path) -> None:
    it = bench(folder, "--records", "30000")
    wait_until(lambda: "Starting the relay" in it.text() or not it.alive, timeout=60, what="the calls are written")
    wait_until(lambda: len(family(it)) >= 3, timeout=30, what="parts run")
    parts = family(it)

    it.signal(signal.SIGINT)

    assert it.popen.wait(30) == 130
    assert psutil.wait_procs(parts, timeout=5)[1] == []
    assert list((folder / "tmp").iterdir()) == []
