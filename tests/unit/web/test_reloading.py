"""How one process follows the config's generation."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from structlog.testing import capture_logs

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.stores.generation import Answer, answers, bump
from llm_one_api.web.reloading import Needs, Reloading


class Config:
    """A config that a process takes up."""

    def __init__(self) -> None:
        self.written = "first"
        self.current = "first"
        self.faults: list[Fault] = []
        self.read_in: list[threading.Thread] = []
        self.while_reading: Callable[[], None] = lambda: None
        self.cannot_start = False

    def draft(self) -> tuple[str, str]:
        self.read_in.append(threading.current_thread())
        text = self.written
        self.while_reading()
        if self.faults:
            raise ConfigError(self.faults)
        return text, f"config.yaml with {text}"

    def take(self, draft: str) -> Needs:
        if self.cannot_start:
            raise ConfigError([Fault("plugins.auth.0", "plugin 'ldap' cannot start")])
        self.current = draft
        return {"server.port": ("gateway",)} if draft == "another port" else {}


class Running:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.config = Config()
        self.stopping = False
        self.reloading = Reloading(run, "gateway", self.config, since=time.time_ns(), stopping=lambda: self.stopping)
        self.reloading.start()

    def reload(self, written: str) -> Answer:
        """Begin a generation, and give what the process says of it."""
        self.config.written = written
        return self.answer(bump(self.run))

    def answer(self, number: int) -> Answer:
        with gevent.Timeout(10):
            while True:
                found = [one for one in answers(self.run) if one is not None and one.generation >= number]
                if found:
                    return found[0]
                gevent.sleep(0.01)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.reloading.stop()
    assert answers(tmp_path) == []


def test_it_says_that_it_is_there_before_anything_is_reloaded(process: Running) -> None:
    assert process.answer(0).state == "uses"


def test_a_new_generation_is_read_beside_the_calls_and_taken_up(process: Running) -> None:
    with capture_logs() as logs:
        answer = process.reload("second")

    assert process.config.current == "second"
    assert (answer.state, answer.restart, answer.file) == ("uses", {}, "config.yaml with second")
    assert process.config.read_in[0] is not threading.main_thread()
    (told,) = [line for line in logs if line["event"] == "config.reloaded"]
    assert told["generation"] == answer.generation


def test_what_wants_a_restart_is_said(process: Running) -> None:
    with capture_logs() as logs:
        answer = process.reload("another port")

    assert answer.restart == {"server.port": ("gateway",)}
    assert {"settings": {"server.port": ["gateway"]}, "event": "config.restart_needed", "log_level": "warning"} in logs


def test_a_config_with_faults_is_refused_and_the_next_one_taken(process: Running) -> None:
    process.config.faults = [Fault("server.port", "must be a number", 3), Fault("models", "must be given")]

    with capture_logs() as logs:
        answer = process.reload("faulty")

    assert process.config.current == "first"
    assert answer.state == "refused"
    assert answer.faults == ("server.port (line 3): must be a number", "models: must be given")
    assert [line["faults"] for line in logs if line["event"] == "config.refused"] == [list(answer.faults)]
    process.config.faults = []
    assert process.reload("mended").state == "uses"
    assert process.config.current == "mended"


def test_a_config_whose_plugin_cannot_start_is_refused(process: Running) -> None:
    process.config.cannot_start = True

    answer = process.reload("with a plugin")

    assert (answer.state, answer.faults) == ("refused", ("plugins.auth.0: plugin 'ldap' cannot start",))
    assert process.config.current == "first"


def test_what_nobody_expected_refuses_a_config_without_telling_what_it_holds(process: Running) -> None:
    def fail() -> None:
        raise ZeroDivisionError("sk-secret")

    process.config.while_reading = fail
    with capture_logs() as logs:
        answer = process.reload("second")

    assert (answer.state, answer.faults) == ("refused", ("unexpected: ZeroDivisionError",))
    assert "sk-secret" not in str(logs)
    process.config.while_reading = lambda: None
    assert process.reload("third").state == "uses"


def test_a_reload_while_another_is_under_way_is_taken_up_after_it(process: Running) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reading.set()
        go_on.wait(10)

    process.config.while_reading = wait
    process.config.written = "second"
    bump(process.run)
    with gevent.Timeout(10):
        while not reading.is_set():
            gevent.sleep(0.01)
    process.config.written = "third"
    last = bump(process.run)
    go_on.set()

    process.answer(last)

    assert process.config.current == "third"
    assert len(process.config.read_in) == 2


def test_the_hub_goes_on_while_a_config_is_read(process: Running) -> None:
    seen: list[Any] = []
    turns = 0

    def wait() -> None:
        seen.append((sys.getswitchinterval(), gc.isenabled()))
        until = time.monotonic() + 10
        while turns < 100 and time.monotonic() < until:
            time.sleep(0.001)

    def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0.001)

    before = sys.getswitchinterval()
    turning = gevent.spawn(turn)
    process.config.while_reading = wait
    process.reload("second")
    turning.kill()

    assert turns >= 100
    assert seen[0] == (pytest.approx(0.0005), False)
    assert (sys.getswitchinterval(), gc.isenabled()) == (before, True)


def test_a_process_that_is_about_to_stop_takes_nothing_up(process: Running) -> None:
    process.stopping = True

    answer = process.reload("second")

    assert answer.state == "stopping"
    assert process.config.current == "first"


def test_a_folder_that_takes_no_file_keeps_nobody_from_taking_it_up(tmp_path: Path) -> None:
    (tmp_path / "processes").symlink_to(tmp_path / "nowhere/processes")
    with capture_logs() as logs:
        running = Running(tmp_path)
        running.config.written = "second"
        bump(tmp_path)
        with gevent.Timeout(10):
            while running.config.current != "second":
                gevent.sleep(0.01)
        running.reloading.stop()

    assert "config.untold" in {line["event"] for line in logs}
