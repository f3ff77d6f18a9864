"""The generation of the config: who begins one, who sees it, and what each process says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llm_one_api.stores.generation import Following, Voice, answers, bump
from tests.harness.processes import ROOT, wait_until

SPEAKER = """
import sys, time
from pathlib import Path
from llm_one_api.stores.generation import Voice

voice = Voice(Path(sys.argv[1]), "relay")
voice.say(7)
print("said", flush=True)
time.sleep(60)
"""


def test_who_follows_sees_each_generation_once(tmp_path: Path) -> None:
    following = Following(tmp_path, since=time.time_ns())
    assert following.look() is None

    first = bump(tmp_path)

    assert (following.look(), following.look()) == (first, None)
    second = bump(tmp_path)
    assert second > first
    assert (following.look(), following.look()) == (second, None)


def test_a_process_that_starts_later_has_read_what_the_last_generation_is_about(tmp_path: Path) -> None:
    number = bump(tmp_path)

    following = Following(tmp_path, since=number + 1)

    assert (following.number, following.look()) == (number, None)


def test_a_generation_that_begins_while_a_process_reads_its_config_is_not_missed(tmp_path: Path) -> None:
    reading_since = time.time_ns()
    number = bump(tmp_path)

    following = Following(tmp_path, since=reading_since)

    assert following.look() == number


def test_those_who_reload_at_once_begin_a_generation_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = [*pool.map(lambda _: bump(tmp_path), range(40))]

    assert len(set(numbers)) == 40
    assert Following(tmp_path, since=0).look() == max(numbers)


def test_a_generation_follows_the_one_before_also_where_the_clock_was_set_back(tmp_path: Path) -> None:
    ahead = time.time_ns() + 3600 * 10**9
    (tmp_path / "generation").write_text(f'{{"number":{ahead}}}')

    assert bump(tmp_path) == ahead + 1


def test_a_file_that_is_gone_or_no_longer_readable_is_no_generation(tmp_path: Path) -> None:
    number = bump(tmp_path)
    following = Following(tmp_path, since=number + 1)

    (tmp_path / "generation").write_text("{")
    assert following.look() in {None, 0}
    (tmp_path / "generation").unlink()
    assert following.look() is None
    assert bump(tmp_path) == following.look()


def test_what_a_process_says_is_heard_while_it_lives(tmp_path: Path) -> None:
    voice = Voice(tmp_path, "gateway")
    assert answers(tmp_path) == [None]

    voice.say(1, "refused", faults=("server.port: must be " + "a number " * 20,))
    voice.say(2, restart={"redis": ("gateway", "relay")}, file="config.yaml")

    (answer,) = answers(tmp_path)
    assert answer is not None
    assert (answer.part, answer.pid, answer.generation, answer.state) == ("gateway", os.getpid(), 2, "uses")
    assert (answer.faults, answer.restart, answer.file) == ((), {"redis": ("gateway", "relay")}, "config.yaml")
    voice.close()
    assert answers(tmp_path) == []


def test_a_process_that_was_killed_is_no_longer_waited_for(tmp_path: Path) -> None:
    said = subprocess.Popen([sys.executable, "-c", SPEAKER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert said.stdout is not None
        assert said.stdout.readline() == "said\n"
        assert [answer and answer.pid for answer in answers(tmp_path)] == [said.pid]
    finally:
        said.send_signal(signal.SIGKILL)
        said.wait()
        assert said.stdout is not None
        said.stdout.close()

    assert answers(tmp_path) == []
    assert [*(tmp_path / "processes").iterdir()] == []


def test_nobody_is_heard_where_nothing_ever_ran(tmp_path: Path) -> None:
    assert answers(tmp_path / "nowhere") == []


def test_what_is_said_is_never_read_by_halves(tmp_path: Path) -> None:
    voice = Voice(tmp_path, "gateway")
    voice.say(0)

    def talk() -> None:
        for number in range(300):
            voice.say(number, faults=("fault",) * (number % 7 * 20))

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        while not talking.done():
            (answer,) = wait_until(lambda: answers(tmp_path))
            assert answer is None or len(answer.faults) == answer.generation % 7 * 20
        talking.result()
    voice.close()
