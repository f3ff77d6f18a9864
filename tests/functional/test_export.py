"""`llm-one-api export` as a process: killed in the middle, twice at once, and its progress."""

from __future__ import annotations

import json
import os
import subprocess
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.books.reports.export.export import export_day
from llm_one_api.books.reports.export.target import Folder
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.processes import BIN, ROOT, Process, wait_until
from tests.harness.records import record
from tests.unit.books.export.files import contents, manifest

DAY = date(2025, 11, 12)
CALLS = 6_000
FEW = 2_000
"""On the day after."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose ledger has a day that takes a while."""
    folder = tmp_path_factory.mktemp("exports")
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    ledger.upgrade()
    begin = datetime(2025, 11, 12, tzinfo=UTC)
    for start in range(0, CALLS, FEW):
        ledger.ingest([record(n, at=begin + timedelta(seconds=n)) for n in range(start, start + FEW)])
    ledger.ingest([record(n, at=begin + timedelta(days=1, seconds=n - CALLS)) for n in range(CALLS, CALLS + FEW)])
    ledger.close()
    file = folder / "config.yaml"
    file.write_text(json.dumps({"plugins": {"stats": []}, "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"}}))
    return file


def argv(config: Path, to: Path) -> list[str | Path]:
    formats = [part for name in ("jsonl", "csv") for part in ("--format", name)]
    return [BIN / "llm-one-api", "export", "--config", config, "--day", str(DAY), "--to-url", str(to), *formats]


def test_an_export_that_is_killed_leaves_nothing_half_and_the_next_is_whole(config: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    process = Process("export", argv(config, to), folder=tmp_path)
    wait_until(lambda: to.is_dir() and any(path.stat().st_size for path in to.iterdir()), what="it writes", timeout=60)

    process.kill()

    left = Folder(to).names()
    assert [name for name in left if not name.startswith(".export-")] == []
    assert left != []
    subprocess.run(argv(config, to), check=True, cwd=tmp_path, env=env(), capture_output=True, timeout=120)
    assert manifest(Folder(to))["requests"] == CALLS


def test_two_at_once_end_well_and_say_the_same(config: Path, tmp_path: Path) -> None:
    both = [Process(f"export-{n}", argv(config, tmp_path / "to"), folder=tmp_path) for n in range(2)]

    ended = [process.popen.wait(timeout=120) for process in both]

    assert ended == [0, 0]
    assert manifest(Folder(tmp_path / "to"))["requests"] == CALLS
    assert len(contents(Folder(tmp_path / "to"))) == 4
    for process in both:
        assert process.output.read_text().startswith(f"{DAY}: 6,000 calls, $1.89\n")


def test_a_large_day_takes_no_more_memory_than_a_small_one(config: Path, tmp_path: Path) -> None:
    ledger = Ledger(json.loads(config.read_text())["ledger"]["url"])
    folder = Folder(tmp_path / "to")
    peaks = {}

    for calls, day in ((0, DAY + timedelta(days=9)), (FEW, DAY + timedelta(days=1)), (CALLS, DAY)):
        tracemalloc.start()  # the first, without calls, loads what is loaded once
        export_day(ledger, folder, day, ZoneInfo("UTC"), ["jsonl"])
        peaks[calls] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    ledger.close()

    assert manifest(folder)["requests"] == CALLS
    assert peaks[CALLS] < 1.2 * peaks[FEW]


def env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
