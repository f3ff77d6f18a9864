"""`llm-one-api upstreams`, over what gateway processes have told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import upstreams
from llm_one_api.stores.buckets import bucket_of
from llm_one_api.stores.upstreams.messages import Condition, MemberFigures, ModelFigures, ProcessFigures, Standing
from llm_one_api.stores.upstreams.store import UpstreamStore

SECRET = "sk-upstream-0123456789abcdef"
ONE = MemberFigures(
    name="openai",
    weight=3,
    max_concurrent=10,
    kept=False,
    in_flight=0,
    requests=1500,
    failures=3,
    ttft={bucket_of(250_000): 1497},
    duration={bucket_of(2_000_000): 1497},
    error="http_503",
    error_at=1,
)
TWO = msgspec.structs.replace(
    ONE, name="azure", weight=1, max_concurrent=None, requests=500, failures=0, ttft={}, duration={}, error=None
)


class Desk:
    """An operator at a terminal."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.config = folder / "config.yaml"
        told: dict[str, Any] = {
            "timezone": "Asia/Shanghai",
            "data_dir": str(folder),
            "redis": {"url": redis_url, "key_prefix": "desk:"},
            "models": {"m": {"api_base": "http://127.0.0.1:1/v1", "api_key": SECRET}},
        }
        self.config.write_text(json.dumps(told))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(upstreams.command, [*words, "--config", str(self.config)])

    def done(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture
def desk(tmp_path: Path, redis_url: str) -> Desk:
    return Desk(tmp_path, redis_url)


@pytest.fixture
def store(redis_url: str) -> Iterator[UpstreamStore]:
    with closing(UpstreamStore(redis_url, "desk:", timeout=5)) as it:
        yield it


@pytest.fixture
def running(store: UpstreamStore) -> None:
    """Two processes: of the model's two upstreams one rests."""
    now = round(time.time() * 10**6)
    models = [
        ModelFigures(model="m", strategy="weighted", fallbacks=["n"], waiting=2, upstreams=[ONE, TWO]),
        ModelFigures(model="n", strategy="round_robin", fallbacks=[], waiting=0, upstreams=[TWO]),
    ]
    until = now + 30_000_000
    rests = Condition(state="ejected", why="upstream_unreachable", since=now, until=until, rests=1)
    figures = ProcessFigures(config_read_at=1, models=models)
    standing = Standing("m\topenai", 4, 0, 0, 0, 0, 0)
    store.turn("a", [standing], {"m\tazure": rests}, figures=figures)
    store.turn("b", [standing], {}, figures=figures)


@pytest.mark.usefixtures("running")
def test_it_shows_who_takes_calls_and_who_rests_and_why(desk: Desk) -> None:
    head, one, two, _, *rest = desk.done().splitlines()

    assert head.split()[:4] == ["MODEL", "UPSTREAM", "STATE", "UNDER"]
    assert one.split() == [
        *("m", "openai", "healthy", "8/10", "3,000", "6", "75.0%", "0.247", "0.247", "2.013", "2.013", "3"),
        *("last", "error", "http_503", "at", "1970-01-01", "08:00:00"),
    ]
    assert two.split()[:12] == ["m", "azure", "ejected", "0", "1,000", "0", "25.0%", "-", "-", "-", "-", "1"]
    assert two.split()[12:14] == ["upstream_unreachable", "until"]
    assert rest[-2:] == ["The last 15 minutes of 2 gateway processes.", "m: fallbacks n; 4 calls wait for room."]


@pytest.mark.usefixtures("running")
def test_it_can_be_asked_for_one_model_and_as_json(desk: Desk) -> None:
    told = json.loads(desk.done("--model", "m", "--json"))

    assert (told["processes"], told["window"], [model["model"] for model in told["models"]]) == (2, 900, ["m"])
    states = [(one["name"], one["state"], one["why"]) for one in told["models"][0]["upstreams"]]
    assert states == [("openai", "healthy", None), ("azure", "ejected", "upstream_unreachable")]


@pytest.mark.usefixtures("running")
def test_a_model_that_nobody_knows_is_said_with_those_that_there_are(desk: Desk) -> None:
    result = desk.run("--model", "gpt")

    assert result.exit_code == 1
    assert result.output == "Error: no gateway knows of a model 'gpt'; known are: m, n\n"


@pytest.mark.usefixtures("running")
def test_it_goes_on_until_it_is_told_to_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)

    result = desk.run("--watch", "--json")

    assert result.exit_code == 1  # as click ends what Ctrl-C has ended
    assert [json.loads(line)["processes"] for line in result.output.splitlines() if line.startswith("{")] == [2] * 3


def test_without_a_gateway_it_says_so(desk: Desk) -> None:
    assert desk.done().startswith("No gateway has told anything of late")


def test_that_redis_is_away_is_said_without_its_password(tmp_path: Path) -> None:
    result = Desk(tmp_path, "redis://:hunter2@127.0.0.1:1/0").run()

    assert result.exit_code == 1
    assert "cannot be asked: ConnectionError" in result.output
    assert "hunter2" not in result.output
