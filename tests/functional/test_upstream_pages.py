"""How upstreams do, as it is seen: over two gateway processes, in the terminal, and while Redis is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.harness import commands
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.processes import wait_until
from tests.harness.product import OTHER_KEY
from tests.harness.services import Valkey, valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted

PAGE = "/v1/stats/load_balancers"
SECRET = "sk-upstream-secret-4711"
PREFIX = "pages:"


class Scene(NamedTuple):
    gateway: Gateway
    redis: Valkey
    good: Upstream
    bad: Upstream


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two processes; a model with two upstreams, of which one is ill, and a model with one."""
    with ExitStack() as stack:
        good, bad = (stack.enter_context(scripted()) for _ in range(2))
        redis = stack.enter_context(valkey(tmp_path_factory.mktemp("redis")))
        bad.answer(json_answer(500, b'{"error":{"message":"my secret"}}'))
        made = settings(good.url, {}, workers=2)
        made["redis"] = {"url": redis.url, "key_prefix": PREFIX}
        made["timezone"] = "Asia/Shanghai"
        made["models"]["two"] = {
            "api_key": SECRET,
            "upstreams": [{"name": "good", "api_base": good.url}, {"name": "bad", "api_base": bad.url}],
            "max_failures": 3,
            "cooldown": 600,
            "health_check_interval": 0,
        }
        folder: Path = tmp_path_factory.mktemp("gateway")
        yield Scene(stack.enter_context(gateway(folder, made)), redis, good, bad)


def page(scene: Scene) -> dict[str, Any]:
    answer = scene.gateway.ask("GET", PAGE)
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    assert "my secret" not in answer.text
    told: dict[str, Any] = answer.json()
    return told


def upstreams(told: dict[str, Any], model: str = "two") -> dict[str, Any]:
    return {one["name"]: one for of in told["models"] if of["model"] == model for one in of["upstreams"]}


@pytest.fixture(scope="module")
def after(scene: Scene) -> dict[str, Any]:
    """The page, once calls have found that one of the two is ill, and both processes have told so."""
    for _ in range(20):
        assert scene.gateway.post(model="two").status_code == 200
    assert scene.gateway.post().status_code == 200

    def seen() -> dict[str, Any] | None:
        told = page(scene)
        two, (lone,) = upstreams(told), upstreams(told, "m").values()
        done = told["processes"] == 2 and two["good"]["requests"] == 20 and two["bad"]["state"] == "ejected"
        done = done and two["good"]["in_flight"] == 0 and lone["requests"] == 1
        return told if done else None

    return wait_until(seen, what="both processes have told of the calls")


def test_the_page_shows_who_takes_calls_and_who_rests_and_why(after: dict[str, Any]) -> None:
    good, bad = upstreams(after).values()

    assert (after["object"], after["window"], after["alone"]) == ("load_balancers", 900, False)
    assert (good["state"], good["requests"], good["failures"], good["in_flight"]) == ("healthy", 20, 0, 0)
    assert (bad["state"], bad["why"]) == ("ejected", "http_500")
    assert bad["requests"] == bad["failures"] >= 3
    assert bad["until"].endswith("+08:00")
    assert (bad["last_error"]["code"], bad["last_error"]["status"]) == ("http_500", 500)
    assert good["share"] + bad["share"] == pytest.approx(1, abs=0.001)
    assert 0 < good["ttft"]["p50"] <= good["duration"]["p95"]
    assert bad["ttft"] == bad["duration"] == {"p50": None, "p95": None}
    (lone,) = upstreams(after, "m").values()
    assert (lone["state"], lone["requests"], lone["share"]) == ("healthy", 1, 1.0)


def test_every_process_shows_the_same(scene: Scene, after: dict[str, Any]) -> None:
    def told() -> Any:
        return tuple([(one["name"], one["state"], one["requests"]) for one in upstreams(page(scene)).values()])

    seen = wait_until(lambda: told() if len({told() for _ in range(8)}) == 1 else None, what="all have been told")

    assert seen[0][:2] == ("good", "healthy")


def test_what_one_process_has_found_holds_for_all(scene: Scene, after: dict[str, Any]) -> None:
    before = len(scene.bad.seen)

    for _ in range(10):
        assert scene.gateway.post(model="two").status_code == 200

    assert len(scene.bad.seen) == before
    assert scene.gateway.output.count("upstream.ejected") in {1, 2}  # two, if both have found it at the same time


def test_one_model_has_a_page_of_its_own(scene: Scene, after: dict[str, Any]) -> None:
    told = scene.gateway.ask("GET", "/v1/stats/models/two").json()

    assert (told["object"], told["model"], told["strategy"], told["processes"]) == (
        "load_balancer",
        "two",
        "round_robin",
        2,
    )
    assert [one["name"] for one in told["upstreams"]] == ["good", "bad"]


def test_a_model_that_is_not_there_is_not_found(scene: Scene) -> None:
    answer = scene.gateway.ask("GET", "/v1/stats/models/no/such")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", [PAGE, "/v1/stats/models/two"])
def test_the_pages_are_for_administrators(scene: Scene, path: str) -> None:
    answers = [scene.gateway.ask("GET", path, key=key) for key in (OTHER_KEY, "sk-wrong")]

    assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [
        (403, "admin_only"),
        (401, "invalid_api_key"),
    ]


def test_the_terminal_shows_the_same(scene: Scene, after: dict[str, Any]) -> None:
    config = scene.gateway.folder / "config.yaml"

    done = commands.run("upstreams", "--config", config, "--json", folder=scene.gateway.folder)

    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout
    told = upstreams(json.loads(done.stdout))
    assert {name: one["state"] for name, one in told.items()} == {"good": "healthy", "bad": "ejected"}


def test_calls_under_way_are_seen_over_all_processes(scene: Scene, after: dict[str, Any]) -> None:
    scene.good.answer(waits)
    calls = [scene.gateway.begin(model="two") for _ in range(5)]
    try:
        wait_until(lambda: upstreams(page(scene))["good"]["in_flight"] == 5, what="they are seen")
    finally:
        scene.good.answer(json_answer(200, CHAT))
        for call in calls:
            call.close()
    wait_until(lambda: upstreams(page(scene))["good"]["in_flight"] == 0, what="they are over")


def waits(talk: Any) -> None:
    talk.wait_closed(60)


def test_without_redis_calls_go_on_and_a_page_shows_the_process_that_answers(
    scene: Scene, after: dict[str, Any]
) -> None:
    scene.redis.kill()
    try:
        assert scene.gateway.post(model="two").status_code == 200
        told = page(scene)
        assert (told["alone"], told["processes"]) == (True, 1)
        assert upstreams(told)["bad"]["state"] == "ejected"
        wait_until(lambda: scene.gateway.output.count("upstreams.alone") == 2, what="both have said so")
    finally:
        scene.redis.start()
    wait_until(lambda: scene.gateway.output.count("upstreams.together") == 2, what="they are together again")
    wait_until(lambda: page(scene)["processes"] == 2, what="both are seen")
    assert upstreams(page(scene))["bad"]["state"] == "ejected"
