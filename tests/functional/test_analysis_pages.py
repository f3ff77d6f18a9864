"""The pages of the analysis over two gateway processes: they are as described, and the terminal says the same."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import fingerprint
from tests.harness import commands
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.processes import BIN, wait_until
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.records import record
from tests.harness.services import Valkey, valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted

SCHEMATHESIS = """
[checks.positive_data_acceptance]  # two times may each be right, and in the wrong order
expected-statuses = ["2xx", "400", "401", "403", "404"]
[checks.negative_data_rejection]
expected-statuses = ["4xx"]
"""


class Scene(NamedTuple):
    gateway: Gateway
    redis: Valkey
    upstream: Upstream


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two processes, and a ledger with calls of the last hours."""
    with ExitStack() as stack:
        upstream = stack.enter_context(scripted())
        redis = stack.enter_context(valkey(tmp_path_factory.mktemp("redis")))
        made = settings(upstream.url, workers=2)
        made["redis"] = {"url": redis.url, "key_prefix": "analysis:"}
        made["timezone"] = "Asia/Shanghai"
        made["plugins"] = {"stats": ["log", "memory"]}
        it = stack.enter_context(gateway(tmp_path_factory.mktemp("gateway"), made))
        now = datetime.now(UTC)
        with closing(Ledger(f"sqlite:///{it.folder}/data/ledger.db")) as ledger:
            ledger.ingest(
                [
                    record(
                        n, at=now - timedelta(minutes=7 * n), model="=m" if n % 3 else "m", key=fingerprint(OTHER_KEY)
                    )
                    for n in range(1, 100)
                ]
            )
        yield Scene(it, redis, upstream)


def terminal(scene: Scene, *words: str) -> str:
    folder = scene.gateway.folder
    done = commands.run("stats", *words, "--config", folder / "config.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def live(scene: Scene, key: str = KEY) -> dict[str, Any]:
    answer = scene.gateway.ask("GET", "/v1/stats/live", key=key)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_the_pages_are_as_their_description_says(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    argv: list[str | Path] = [
        BIN / "schemathesis", "--config-file", tmp_path / "schemathesis.toml", "run",
        f"{scene.gateway.url}/v1/openapi.json", "--header", f"Authorization: Bearer {KEY}",
        "--max-examples", "4", "--generation-deterministic", "--no-color", "--warnings", "off",
    ]  # fmt: skip

    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stdout[-5000:]
    assert "16 selected" in done.stdout  # all but the description itself
    assert "request.failed" not in scene.gateway.output


def test_page_and_terminal_say_the_same(scene: Scene) -> None:
    query = "from=2026-01-01T00:00:00Z&to=2030-01-01&group_by=model,stream"
    words = ("usage", "--from", "2026-01-01T00:00:00Z", "--to", "2030-01-01", "--group-by", "model,stream")

    told = scene.gateway.ask("GET", f"/v1/stats/usage?{query}")
    sheet = scene.gateway.ask("GET", f"/v1/stats/usage?{query}&format=csv")

    assert [row["requests"] for row in told.json()["rows"]] == [66, 33]
    assert json.loads(terminal(scene, *words, "--json")) == told.json()
    assert terminal(scene, *words, "--csv").splitlines() == sheet.text.splitlines()
    assert [row["model"] for row in csv.DictReader(io.StringIO(sheet.text))] == ["'=m", "m"]


def test_calls_under_way_and_of_the_last_minute_are_counted_over_all_processes(scene: Scene) -> None:
    scene.upstream.answer(waits)
    calls = [scene.gateway.begin() for _ in range(6)]
    try:
        wait_until(lambda: live(scene)["in_flight"] == 6 and live(scene)["processes"] == 2, what="they are seen")
        assert live(scene, OTHER_KEY)["in_flight"] == 0
        # It is no gateway process, of which each knows its own calls sooner than those of the others.
        wait_until(lambda: json.loads(terminal(scene, "live", "--json"))["in_flight"] == 6, what="it sees them too")
    finally:
        scene.upstream.answer(json_answer(200, CHAT))
        for call in calls:
            call.close()
    assert scene.gateway.post(key=OTHER_KEY).status_code == 200
    told = wait_until(
        lambda: live(scene)["in_flight"] == 0 and live(scene)["requests"] >= 7 and live(scene), what="all are over"
    )

    own = wait_until(lambda: (of := live(scene, OTHER_KEY))["requests"] == 1 and of, what="its own is counted")
    assert told["qps"] == pytest.approx(told["requests"] / 60, abs=0.001)
    assert (own["scope"], own["requests"], own["models"]) == ("own", 1, None)
    assert (told["models"][0]["model"], told["alone"]) == ("m", False)


def waits(talk: Any) -> None:
    talk.wait_closed(60)
