"""`llm-one-api metrics` by itself: with nothing to read, with a config that changes, and with rude callers."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.metrics import Samples, parsed, total, value
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.records import record

SECRET = "s3cretpassword"


class Scene:
    """The process, in a folder with a config and at first without a ledger; Redis is away all the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.port = free_port()
        self.write("m")
        self.process = Process("metrics", [BIN / "llm-one-api", "metrics", "--config", self.config], folder=folder)
        wait_until(lambda: "metrics.serving" in self.process.text(), timeout=60, what="it serves")

    def write(self, *models: str, **prometheus: Any) -> None:
        self.config.write_text(json.dumps(self.told(*models, **prometheus)))

    def told(self, *models: str, **prometheus: Any) -> dict[str, Any]:
        return {
            "models": {model: {"api_base": "http://127.0.0.1:1/v1"} for model in models},
            "redis": {"url": f"redis://:{SECRET}@127.0.0.1:1/0"},
            "ledger": {"url": f"sqlite:///{self.folder}/ledger.db"},
            "monitoring": {"prometheus": {"port": self.port, **prometheus}},
        }

    def get(self, path: str = "/metrics", **more: Any) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=20, **more)

    def scrape(self) -> Samples:
        return parsed(self.get().text)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    it = Scene(tmp_path_factory.mktemp("metrics"))
    yield it
    it.process.kill()


def test_where_nothing_can_be_read_nothing_is_zero_and_a_config_that_changes_is_taken_up(scene: Scene) -> None:
    empty = scene.scrape()
    with_secret = scene.process.text()
    ledger = Ledger(f"sqlite:///{scene.folder}/ledger.db")
    ledger.upgrade()
    ledger.ingest([record(n, model="m" if n % 2 else "n", at=datetime.now(UTC)) for n in range(6)])
    ledger.close()
    wait_until(
        lambda: total(scene.scrape(), "llm_request_total") == 6, what="the ledger is read as soon as it is there"
    )
    of_one = scene.scrape()
    scene.write("m", "n", users=True, metrics=["request_total", "user_request_total"])
    of_two = scene.scrape()
    scene.config.write_text("models: [")
    still = scene.scrape()

    assert {name for name, _ in empty} == {
        "llm_exporter_source_up", "llm_exporter_read_seconds", "llm_exporter_info"
    }  # fmt: skip
    assert [value(empty, "llm_exporter_source_up", source=name) for name in ("ledger", "redis", "journals")] == [
        0,
        0,
        1,
    ]
    assert [total(of_one, "llm_request_total", model=model) for model in ("m", "n", "other")] == [3, 0, 3]
    assert [total(of_two, "llm_request_total", model=model) for model in ("m", "n", "other")] == [3, 3, 0]
    assert value(of_two, "llm_user_request_total", user="sk-test-123") == 6
    assert not [name for name, _ in of_two if name.startswith("llm_cost")]
    assert still == of_two or total(still, "llm_request_total", model="n") == 3
    assert "config.refused" in scene.process.text()
    assert with_secret.count("metrics.away") == 2
    assert SECRET not in scene.process.text()


def test_rude_callers_are_answered_and_hold_up_nobody(scene: Scene) -> None:
    idle = [socket.create_connection(("127.0.0.1", scene.port)) for _ in range(20)]
    try:
        idle[0].sendall(b"GET /metr")
        answers = {
            path: scene.get(path).status_code for path in ("/", "/metrics", "/metrics?name[]=x", "/etc/passwd", "/%00")
        }
        posted = requests.post(f"http://127.0.0.1:{scene.port}/metrics", data=b"x" * 100_000, timeout=20).status_code
        zipped = scene.get(headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    finally:
        for each in idle:
            each.close()

    assert answers == {"/": 200, "/metrics": 200, "/metrics?name[]=x": 200, "/etc/passwd": 404, "/%00": 404}
    assert posted == 405
    assert zipped.headers["content-type"].startswith("application/openmetrics-text")
    assert zipped.text.endswith("# EOF\n")


def test_a_port_that_is_taken_is_told_in_words(scene: Scene) -> None:
    scene.write("m")

    done = subprocess.run(
        [BIN / "llm-one-api", "metrics", "--config", scene.config],
        cwd=scene.folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{scene.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_at_once_when_it_is_asked_to(tmp_path: Path) -> None:
    it = Scene(tmp_path)

    it.process.signal(signal.SIGTERM)

    assert it.process.popen.wait(10) == 0
    assert "Traceback" not in it.process.text()
