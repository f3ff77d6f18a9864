"""Who holds a lease, and whether that process has ended: by real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llm_one_api.books.deliver.owner import is_gone, me
from tests.harness.processes import ROOT

CODE = "from llm_one_api.books.deliver.owner import me; print(me(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process, which lives until its input is closed."""
    command = [sys.executable, "-c", CODE]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        yield it
        it.kill()


def name_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_that_lives_is_not_gone(other: subprocess.Popen[str]) -> None:
    name = name_of(other)

    assert not is_gone(me())
    assert not is_gone(name)
    assert name != me()


def test_one_that_was_killed_is_gone_before_and_after_its_parent_has_asked(other: subprocess.Popen[str]) -> None:
    name = name_of(other)

    os.kill(other.pid, 9)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    before = is_gone(name)
    other.wait()

    assert before
    assert is_gone(name)


def test_another_process_with_the_number_of_one_that_ended_is_not_taken_for_it(other: subprocess.Popen[str]) -> None:
    host, pid, started, where = name_of(other).split(" ")

    assert is_gone(f"{host} {pid} {int(started) - 1} {where}")


@pytest.mark.parametrize("change", [lambda host, pid, started, where: f"{host} {pid} {started} another-boot/{where}",
                                    lambda host, pid, started, where: f"{host} 999999999 ? {where}",
                                    lambda host, pid, started, where: f"{host} 999999999 {started} ?",
                                    lambda host, pid, started, where: "up:some-name"])  # fmt: skip
def test_of_a_process_that_cannot_be_known_from_here_it_is_not_said(change: object) -> None:
    assert callable(change)

    assert not is_gone(change(*me().split(" ")))
