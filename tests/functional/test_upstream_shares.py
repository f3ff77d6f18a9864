"""Which upstream gets how many calls, from four gateway processes that know of one another through Valkey."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.harness.gateway import Gateway, gateway
from tests.harness.processes import wait_until
from tests.harness.product import config
from tests.harness.quick_upstream import QuickUpstream, quick_upstreams
from tests.harness.services import Valkey
from tests.harness.shares import HARDLY_EVER, assert_shares
from tests.harness.steady import Steady, connections_to_each, steady

CALLS = 240
"""Of each strategy."""
WEIGHTS = {"a": 5, "b": 3, "c": 1}
ALIKE = dict.fromkeys(WEIGHTS, 1)
MODELS: dict[str, dict[str, int]] = {
    "round_robin": ALIKE,
    "random": ALIKE,
    "weighted": {**WEIGHTS, "slow": 0},
    "least_connections": ALIKE,
    "least_latency": {**ALIKE, "slow": 1},
}


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, QuickUpstream]]:
    folder = tmp_path_factory.mktemp("upstreams")
    with quick_upstreams(folder, list(WEIGHTS)) as quick, quick_upstreams(folder, ["slow"], 0.2) as slow:
        yield {one.name: one for one in [*quick, *slow]}


@pytest.fixture(scope="module")
def it(
    upstreams: dict[str, QuickUpstream], session_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def model(strategy: str, weights: dict[str, int]) -> dict[str, Any]:
        entries = [
            {"name": name, "api_base": upstreams[name].url, **({} if weights is ALIKE else {"weight": weight})}
            for name, weight in weights.items()
        ]
        return {"load_balance_strategy": strategy, "cooldown": 0.5, "api_key": "sk-upstream", "upstreams": entries}

    redis = {"url": session_valkey.url, "key_prefix": "shares:"}
    made = config("http://127.0.0.1:1/v1", server={"workers": 4}, redis=redis)
    made["models"] = {strategy: model(strategy, weights) for strategy, weights in MODELS.items()}
    with gateway(tmp_path_factory.mktemp("shares"), made) as running:
        yield running


def taken(load: Steady) -> list[str]:
    """Name the upstream of each call."""
    assert load.failed == []
    return [json.loads(answer.body)["model"] for answer in load.answers]


def test_each_strategy_gives_each_upstream_its_share(it: Gateway) -> None:
    with ExitStack() as stack:
        loads = {
            strategy: stack.enter_context(steady(connections_to_each(it, 2), rate=60, model=strategy))
            for strategy in MODELS
        }
        for load in loads.values():
            load.goes_on(max(0, CALLS - len(load.answers)))

    by_latency = Counter(taken(loads.pop("least_latency")))
    for strategy, load in loads.items():
        weights = {name: weight for name, weight in MODELS[strategy].items() if weight}
        assert_shares(taken(load), weights, HARDLY_EVER)
    assert by_latency["slow"] < min(by_latency[name] for name in ALIKE)


def test_an_upstream_that_is_away_is_left_alone_and_gets_its_share_again_when_it_is_back(
    it: Gateway, upstreams: dict[str, QuickUpstream]
) -> None:
    upstreams["c"].kill()
    with steady(connections_to_each(it, 4), rate=200, model="round_robin") as load:
        load.goes_on(250)
        upstreams["c"].start()
        wait_until(lambda: taken(load)[-100:].count("c") > 25, what="it has its share again")

    ids = {answer.id for answer in load.answers}
    attempts = [a for record in it.records() if record.request_id in ids for a in record.attempts]
    assert_shares([name for name in taken(load)[:250] if name != "c"], {"a": 1, "b": 1}, HARDLY_EVER)
    in_vain = [attempt.error for attempt in attempts if attempt.error]
    assert set(in_vain) <= {"upstream_unreachable", "upstream_closed", "stale_connection"}
    assert len(in_vain) < len(load.answers) / 10
