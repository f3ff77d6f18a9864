"""Four processes write one log file while it is rotated: no line lost, torn or doubled."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jq
import pytest

from tests.harness.processes import Process, wait_until

NAMES = ("a", "b", "c", "d")
FILTER = 'select(.event=="response")'
"""The founding document's."""


class Writers:
    """Processes that write into `<folder>/logs/llm-one-api.log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "logs" / "llm-one-api.log"
        self.file.parent.mkdir()
        self.processes: list[Process] = []

    def start(self, count: int, *, rotate: str, pause: float = 0.0, midnight_in: float | None = None) -> None:
        """Start one a name; with *midnight_in* (seconds) their clocks are set so that a day ends then."""
        clock = [] if midnight_in is None else [str(datetime(2025, 11, 13, tzinfo=UTC).timestamp() - midnight_in)]
        for name in NAMES:
            argv = [sys.executable, "-m", "tests.harness.log_writer", name, str(count), str(pause)]
            self.processes.append(Process(name, [*argv, str(self.folder), rotate, *clock], folder=self.folder / "out"))
        if clock:
            wait_until(lambda: len(list(self.folder.glob("ready-*"))) == len(NAMES), what="all are ready")
            (self.folder / "now").write_text(str(time.time()))
            (self.folder / "now").rename(self.folder / "go")

    def tail(self) -> Process:
        """Follow the file as the founding document says; what `tail` remarks on rotations is not its output."""
        self.file.touch()
        argv = ["sh", "-c", f"exec tail -n +1 -F {self.file} 2>/dev/null"]
        self.processes.append(Process("tail", argv, folder=self.folder / "out"))
        return self.processes[-1]

    def told(self, name: str) -> int:
        """Tell how many lines *name* says it wrote."""
        process = next(process for process in self.processes if process.name == name)
        return process.text().count("\n")

    def finish(self) -> None:
        """Wait until all have written."""
        for process in self.processes:
            if process.name in NAMES:
                assert process.popen.wait(60) == 0, process.text()[-2000:]

    def files(self) -> dict[str, str]:
        """Read the live file and the rotated ones."""
        return {path.name: path.read_text() for path in self.file.parent.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    it = Writers(tmp_path)
    try:
        yield it
    finally:
        for process in it.processes:
            process.kill()


def ids(texts: dict[str, str]) -> Counter[str]:
    """Count the lines by their ids; every line must be JSON."""
    return Counter(json.loads(line)["request_id"] for text in texts.values() for line in text.splitlines())


def each_once(count: int) -> Counter[str]:
    return Counter({f"{name}-{number}": 1 for name in NAMES for number in range(count)})


def test_at_full_speed_through_many_rotations_every_line_is_there_once(writers: Writers) -> None:
    writers.start(800, rotate="size:50KB")

    writers.finish()

    files = writers.files()
    assert len(files) > 20
    assert ids(files) == each_once(800)
    assert all(text.endswith("\n") for text in files.values())


def test_tail_and_jq_see_every_line_once_while_the_file_is_rotated_by_size(writers: Writers) -> None:
    tail = writers.tail()

    writers.start(600, rotate="size:500KB", pause=0.003)
    writers.finish()
    wait_until(lambda: tail.text().count("\n") >= 2400, what="tail has seen all lines")

    events = jq.compile(FILTER).input_text(tail.text()).all()
    assert Counter(event["request_id"] for event in events) == each_once(600)
    assert len(writers.files()) >= 4


def test_tail_and_jq_see_every_line_once_over_midnight(writers: Writers) -> None:
    tail = writers.tail()

    writers.start(600, rotate="daily", pause=0.003, midnight_in=1.5)
    writers.finish()
    wait_until(lambda: tail.text().count("\n") >= 2400, what="tail has seen all lines")

    events = jq.compile(FILTER).input_text(tail.text()).all()
    files = writers.files()
    assert Counter(event["request_id"] for event in events) == ids(files) == each_once(600)
    assert sorted(files) == ["llm-one-api.log", "llm-one-api.log.2025-11-12"]
    assert all(files.values())


def test_killed_processes_leave_whole_lines_and_the_others_go_on(writers: Writers) -> None:
    writers.start(1500, rotate="size:20KB")
    wait_until(lambda: min(writers.told(name) for name in NAMES) > 50, what="all are writing")

    for victim in ("a", "b"):
        next(process for process in writers.processes if process.name == victim).kill()
    told = {victim: writers.told(victim) for victim in ("a", "b")}
    writers.processes = [process for process in writers.processes if process.name not in told]
    writers.finish()

    written = ids(writers.files())
    assert max(written.values()) == 1
    for victim, number in told.items():
        # The last line may have been written and not told.
        assert sum(name.startswith(f"{victim}-") for name in written) in {number, number + 1}
    for survivor in ("c", "d"):
        assert sum(name.startswith(f"{survivor}-") for name in written) == 1500
