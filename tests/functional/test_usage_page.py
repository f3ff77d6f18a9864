"""`GET /v1/usage`, and what health says of limits: with a Redis, with one that forgot, and with none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import openai
import pytest

from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits.messages import Admit, Amount, Boost
from llm_one_api.stores.limits.store import LimitStore
from llm_one_api.values import fingerprint
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.processes import wait_until
from tests.harness.sdks import openai_sdks
from tests.harness.services import Valkey, valkey
from tests.harness.upstream import Upstream, scripted

PREFIX = "usage:"
ZONE = "Asia/Shanghai"
LIMITED, EXEMPT, FREE = "sk-limited", "sk-exempt", "sk-free"
KEY = fingerprint(LIMITED)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


def made(upstream: Upstream, redis: str, **quota: Any) -> dict[str, Any]:
    made = settings(upstream.url)
    made["timezone"] = ZONE
    made["redis"] = {"url": redis, "key_prefix": PREFIX}
    made["auth"]["default_auth"]["api_keys"] = [
        {"key": LIMITED, "user": "ann", "group": "lab"},
        {"key": EXEMPT, "user": "root"},
        {"key": FREE, "user": "bob", "models": []},
    ]
    made["limits"] = {
        "keys": {KEY: {"requests_per_minute": 60, "max_concurrent": 4}},
        "groups": {
            "lab": {"day": {"tokens": 1000, "cost_usd": "2.50"}, "total": {"requests": 9}, "action": "throttle"}
        },
        "each_model": {"month": {"tokens": 5_000_000}},
        "exempt": {"users": ["root"]},
    }
    made["quota"] = {"unpriced": "allow", **quota}
    return made


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this module's own: one test stops it for a moment."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def running(upstream: Upstream, redis_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("usage"), made(upstream, redis_server.url)) as it:
        yield it


@pytest.fixture(scope="module")
def without_redis(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("away")
    with gateway(folder, made(upstream, f"unix://{folder}/none", when_unavailable="refuse")) as it:
        yield it


@pytest.fixture
def store(redis_server: Valkey) -> Iterator[LimitStore]:
    """The limit store, with nothing in it."""
    with redis_server.client() as client:
        client.flushall()
    it = LimitStore(redis_server.url, PREFIX, timeout=5)
    yield it
    it.close()


def day() -> str:
    return Calendar(ZoneInfo(ZONE)).at("day", time.time()).label


def usage(running: Gateway, key: str = LIMITED, query: str = "") -> Any:
    response = running.ask("GET", f"/v1/usage{query}", key=key)
    assert response.status_code == 200, response.text
    return response.json()


def limit(told: Any, scope: str, kind: str, period: str | None) -> Any:
    [found] = [one for one in told["limits"] if (one["scope"], one["kind"], one["period"]) == (scope, kind, period)]
    return found


def test_it_shows_each_limit_of_the_callers_key_and_what_is_left(running: Gateway, store: LimitStore) -> None:
    today = f"group:lab:day:{day()}"
    until = int(time.time()) + 3600
    store.recount(
        0,
        {today: Amount(400, 3, 1_250_000_001), "group:lab:total:ever": Amount(400, 3, 0)},
        boosts={"group:lab:day:tokens": Boost(500, until * 1000), "group:lab:day:cost": Boost(10**9, 1000)},
    )
    windows = [(name, -1, -1, -1, 0, 1, 0, 2**52) for name in (today, "group:lab:total:ever")]
    scope = f"key:{KEY}"
    store.run(
        [Admit(id="held", tokens=50, nanos=7, allow_unwhole=False, quotas=windows,
               rates=[(scope, "rpm", 60, 1, 0)], concurrent=[(scope, 4, 0)])]
    )  # fmt: skip

    told = usage(running)

    assert {name: told[name] for name in ("key", "user", "group", "model", "exempt", "timezone", "counters_whole")} == {
        "key": KEY, "user": "ann", "group": "lab", "model": None, "exempt": False, "timezone": ZONE,
        "counters_whole": True,
    }  # fmt: skip
    tokens = limit(told, "group:lab", "tokens", "day")
    assert (tokens["limit"], tokens["used"], tokens["reserved"], tokens["remaining"]) == (1500, 400, 50, 1050)
    assert tokens["boost"]["amount"] == 500
    assert datetime.fromisoformat(tokens["boost"]["until"]).timestamp() == until
    assert tokens["resets_at"] == datetime.fromisoformat(tokens["resets_at"]).astimezone(ZoneInfo(ZONE)).isoformat()
    assert tokens["resets_at"].endswith("T00:00:00+08:00")
    assert 0 < tokens["resets_in"] <= 86_400
    assert tokens["action"] == "throttle"
    cost = limit(told, "group:lab", "cost_usd", "day")
    assert (cost["limit"], cost["used"], cost["reserved"]) == ("2.5", "1.250000001", "0.000000007")
    assert (cost["remaining"], cost["boost"]) == ("1.249999992", None)
    requests = limit(told, "group:lab", "requests", "total")
    assert (requests["used"], requests["reserved"], requests["remaining"]) == (3, 1, 5)
    assert (requests["resets_at"], requests["resets_in"]) == (None, None)
    minute = limit(told, f"key:{KEY}", "requests", "minute")
    assert (minute["limit"], minute["used"], minute["remaining"]) == (60, 1, 59)
    assert 50 < minute["resets_in"] <= 61
    assert limit(told, f"key:{KEY}", "concurrent", None)["used"] == 1
    assert len(told["limits"]) == 5


def test_a_models_limits_are_shown_where_it_is_asked_for(running: Gateway, store: LimitStore) -> None:
    store.recount(0, {})

    told = usage(running, query="?model=m")

    assert told["model"] == "m"
    assert limit(told, "model:m", "tokens", "month")["remaining"] == 5_000_000
    assert not [one for one in usage(running)["limits"] if one["scope"].startswith("model:")]


def test_a_model_that_the_key_may_not_use_is_not_there(running: Gateway) -> None:
    assert running.ask("GET", "/v1/usage?model=nosuch", key=LIMITED).json()["error"]["code"] == "model_not_found"
    assert running.ask("GET", "/v1/usage?model=m", key=FREE).status_code == 404


def test_who_is_not_limited_is_told_so(running: Gateway, store: LimitStore) -> None:
    exempt, free = usage(running, EXEMPT, "?model=m"), usage(running, FREE)

    assert (exempt["exempt"], exempt["limits"]) == (True, [])
    assert (free["exempt"], free["limits"]) == (False, [])


def test_it_wants_a_key(running: Gateway) -> None:
    assert running.ask("GET", "/v1/usage", key="sk-wrong").status_code == 401


def test_counters_that_were_lost_are_told_of(running: Gateway, store: LimitStore) -> None:
    def missing() -> Any:
        told = running.ask("GET", "/health/ready", key=LIMITED).json()
        return told if told.get("missing") == ["limits"] else None

    assert usage(running)["counters_whole"] is False
    told = wait_until(missing, timeout=10, what="health misses the counters")

    assert datetime.fromisoformat(told["limits_away_since"]).utcoffset() is not None


def test_without_redis_it_says_so_soon_and_holds_nobody_up(without_redis: Gateway) -> None:
    began = time.monotonic()
    response = without_redis.ask("GET", "/v1/usage", key=LIMITED)
    seconds = time.monotonic() - began

    assert (response.status_code, response.json()["error"]["code"]) == (503, "limits_unavailable")
    assert response.headers["retry-after"] == "1"
    assert seconds < 5
    assert usage(without_redis, FREE)["limits"] == []


def test_a_redis_that_hangs_costs_a_second_and_holds_nobody_up(running: Gateway, redis_server: Valkey) -> None:
    redis_server.pause()
    try:
        began = time.monotonic()
        with running.connect() as sock:
            sock.sendall(f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LIMITED}\r\n\r\n".encode())
            alive = running.ask("GET", "/v1/models", key=LIMITED).elapsed.total_seconds()
            answer = sock.recv(65536)
        seconds = time.monotonic() - began
    finally:
        redis_server.resume()

    assert b"503 " in answer.split(b"\r\n")[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "limits_unavailable"
    assert alive < seconds  # it was answered while the other one waited
    assert seconds < 5


def test_calls_that_are_refused_without_redis_are_told_when_to_come_back(without_redis: Gateway) -> None:
    with openai_sdks(without_redis.url, LIMITED) as sdks, pytest.raises(openai.InternalServerError) as raised:
        sdks["sync"].ask(
            lambda client: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        )

    error = raised.value
    assert (error.status_code, error.code, error.type) == (503, "limits_unavailable", "server_error")
    assert (error.response.headers["retry-after"], error.response.headers["retry-after-ms"]) == ("5", "5000")
