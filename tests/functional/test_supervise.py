from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_one_api.cli.installation import end_relay
from llm_one_api.stores.journal.lock import take_relay_lock
from tests.harness.processes import ROOT, Process, wait_until
from tests.harness.running import runs

Host = Callable[..., Process]

LIVES = "echo $$ >> pids; exec sleep 300"
"""Writes its process id down, and stays."""
HAS_A_CHILD = "sleep 300 & echo $! >> grandchildren; echo $$ >> pids; wait"
WAITS = "echo $$ >> pids; while :; do sleep 0.02; done"
IS_DEAF = (
    "trap '' TERM; (while :; do sleep 300; done) & echo $! >> grandchildren; echo $$ >> pids; while :; do wait; done"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    started: list[Process] = []

    def start(*scripts: str, grace: float = 10, settle: float = 10) -> Process:
        program = ROOT / "tests/functional/supervised.py"
        started.append(Process("host", [sys.executable, program, str(grace), str(settle), *scripts], folder=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.stop(1)
    for pid in runs(*noted(tmp_path), *noted(tmp_path, "grandchildren")):
        os.kill(pid, signal.SIGKILL)


def noted(folder: Path, name: str = "pids") -> list[int]:
    try:
        return [int(line) for line in (folder / name).read_text().split()]
    except FileNotFoundError:
        return []


def started(folder: Path, count: int = 1, name: str = "pids") -> list[int]:
    return wait_until(lambda: pids if len(pids := noted(folder, name)) >= count else [], what=f"{count} in {name}")


def test_a_child_that_dies_is_started_again_and_that_is_said(host: Host, tmp_path: Path) -> None:
    process = host(f"part={LIVES}")
    first = started(tmp_path)[0]

    os.kill(first, signal.SIGKILL)

    again = started(tmp_path, 2)[1]
    assert runs(first, again) == [again]
    assert "part.died" in process.text()
    assert "killed by SIGKILL" in process.text()


def test_a_child_that_keeps_dying_is_started_less_and_less_often(host: Host, tmp_path: Path) -> None:
    process = host("part=echo $$ >> pids; exit 3")

    wait_until(lambda: "again_in=0.4" in process.text(), what="the wait has doubled three times")

    waits = [word.partition("=")[2] for word in process.text().split() if word.startswith("again_in=")]
    assert waits[:4] == ["0.05", "0.1", "0.2", "0.4"]
    assert "exit code 3" in process.text()


def test_children_end_in_time_when_told_to(host: Host, tmp_path: Path) -> None:
    process = host(f"one={LIVES}", f"two={LIVES}")
    started(tmp_path, 2)

    process.signal(signal.SIGTERM)

    assert process.popen.wait(5) == 0
    assert runs(*noted(tmp_path)) == []
    assert "part.died" not in process.text()


def test_a_child_that_does_not_end_in_time_is_killed_with_all_that_it_started(host: Host, tmp_path: Path) -> None:
    process = host(f"deaf={IS_DEAF}", grace=0.3)
    deaf, grandchild = started(tmp_path) + started(tmp_path, name="grandchildren")

    process.signal(signal.SIGTERM)

    assert process.popen.wait(5) == 0
    assert "part.killed" in process.text()
    wait_until(lambda: not runs(deaf, grandchild), what="both are gone")


def test_what_a_dead_child_leaves_behind_is_told_to_end(host: Host, tmp_path: Path) -> None:
    host(f"part={HAS_A_CHILD}")
    child, grandchild = started(tmp_path) + started(tmp_path, name="grandchildren")

    os.kill(child, signal.SIGKILL)

    wait_until(lambda: not runs(grandchild), what="the grandchild is gone")
    assert len(started(tmp_path, 2)) == 2


def test_what_a_dead_child_leaves_behind_is_killed_if_it_does_not_end(host: Host, tmp_path: Path) -> None:
    host(f"part={IS_DEAF}", settle=0.3)
    child, grandchild = started(tmp_path) + started(tmp_path, name="grandchildren")

    os.kill(child, signal.SIGKILL)

    wait_until(lambda: not runs(grandchild), what="the grandchild is gone")


def test_children_die_with_a_supervisor_that_is_killed(host: Host, tmp_path: Path) -> None:
    process = host(f"one={LIVES}", f"two={LIVES}")
    started(tmp_path, 2)

    os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: not runs(*noted(tmp_path)), timeout=3, what="the children are gone")


def test_a_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(host: Host, tmp_path: Path) -> None:
    process = host(
        "part=trap 'echo INT >> seen' INT; trap 'echo TERM >> seen; exit' TERM; echo $$ >> pids;"
        "while :; do sleep 0.02; done"
    )
    started(tmp_path)

    os.killpg(process.pid, signal.SIGINT)

    assert process.popen.wait(5) == 0
    assert (tmp_path / "seen").read_text() == "TERM\n"


def test_a_second_ctrl_c_hurries(host: Host, tmp_path: Path) -> None:
    process = host(f"deaf={IS_DEAF}", grace=60)
    started(tmp_path)
    process.signal(signal.SIGINT)
    wait_until(lambda: "stopping" in process.text(), what="it begins to stop")

    process.signal(signal.SIGINT)

    assert process.popen.wait(5) == 0
    assert "hurried" in process.text()
    assert runs(*noted(tmp_path), *noted(tmp_path, "grandchildren")) == []


def test_in_a_hurry_the_last_part_has_time_of_its_own(host: Host, tmp_path: Path) -> None:
    process = host(f"deaf={IS_DEAF}", f"last=trap 'echo >> ended; exit' TERM; {WAITS}", grace=60)
    started(tmp_path, 2)
    process.signal(signal.SIGINT)
    wait_until(lambda: "stopping" in process.text(), what="it begins to stop")

    process.signal(signal.SIGINT)

    assert process.popen.wait(5) == 0
    assert (tmp_path / "ended").exists()
    assert "part=last" not in process.text()


def test_a_relay_that_ends_before_it_can_be_killed_holds_up_nothing(tmp_path: Path) -> None:
    lock = take_relay_lock(tmp_path)
    assert lock is not None
    relay = Process("relay", ["/bin/sleep", "300"], folder=tmp_path)
    (tmp_path / "relay.lock").write_text(f"{relay.pid}\n")

    try:
        end_relay(tmp_path, lambda _: reap(relay), until=time.monotonic() + 0.2)
        ended = relay.alive
    finally:
        os.close(lock)
        relay.kill()

    assert not ended


def reap(process: Process) -> None:
    process.popen.wait(5)
