"""What our gunicorn settings change about gunicorn itself."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from gunicorn.errors import HaltServer


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The settings of an installation with the default config."""
    config = tmp_path / "config.yaml"
    config.write_text("server: {workers: 3}")
    monkeypatch.setenv("LLM_ONE_API_CONFIG", str(config))
    from llm_one_api.web import gunicorn_conf

    return gunicorn_conf


class Arbiter:
    """gunicorn's master, whose `stop` raises for each process that could not load the application."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.stopped: list[bool] = []

    def stop(self, graceful: bool = True) -> None:
        if self.failures:
            self.failures -= 1
            raise HaltServer("App failed to load.", 4)
        self.stopped.append(graceful)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_gunicorn_stops_to_the_end_though_further_processes_fail_meanwhile(conf: ModuleType, failures: int) -> None:
    arbiter = Arbiter(failures)

    conf.on_starting(arbiter)
    arbiter.stop(False)

    assert arbiter.stopped == [False]


def test_a_master_that_never_stops_failing_is_not_held_up(conf: ModuleType) -> None:
    arbiter = Arbiter(1000)

    conf.on_starting(arbiter)

    with pytest.raises(HaltServer):
        arbiter.stop()
