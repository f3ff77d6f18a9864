"""The relay's prices follow the config's generation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llm_one_api.cli.relay_config import Prices
from llm_one_api.settings import load
from llm_one_api.stores.generation import Answer, answers, bump
from llm_one_api.values import Usage, UsageRecord

RECORD = UsageRecord(
    request_id="r",
    at=datetime(2026, 11, 24, tzinfo=UTC),
    model="m",
    upstream_model="m",
    user="alice",
    key="key_1",
    endpoint="chat",
    outcome="success",
    upstream="127.0.0.1:9",
    usage=Usage(prompt_tokens=1000, completion_tokens=1000, total_tokens=2000),
    usage_source="reported",
)


class Relay:
    """The part of a relay that follows the config."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.yaml"
        self.write("0.001")
        self.now = 0.0
        self.prices = Prices(load(self.file, {}), self.file, since=time.time_ns(), clock=lambda: self.now)

    def write(self, price: str, **more: object) -> None:
        models = {"m": {"api_base": "http://127.0.0.1:9/v1"}}
        pricing = {"m": {"per": "1K", "input": price, "output": 0}}
        self.file.write_text(json.dumps({"data_dir": str(self.folder), "models": models, "pricing": pricing, **more}))

    def cost(self) -> Decimal | None:
        return self.prices(RECORD).cost

    def look(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.prices.look()

    def answer(self) -> Answer | None:
        (one,) = answers(self.folder / "run")
        return one


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.prices.close()


def test_a_new_price_holds_from_the_next_look_on(relay: Relay) -> None:
    relay.write("0.005")
    relay.look()
    assert relay.cost() == Decimal("0.001")

    number = bump(relay.folder / "run")
    relay.look()

    assert relay.cost() == Decimal("0.005")
    answer = relay.answer()
    assert answer is not None
    assert (answer.part, answer.generation, answer.state) == ("relay", number, "uses")


def test_it_looks_a_few_times_a_second_and_not_at_each_turn(relay: Relay) -> None:
    relay.look()
    relay.write("0.005")
    bump(relay.folder / "run")

    relay.look(0.1)
    assert relay.cost() == Decimal("0.001")
    relay.look(0.2)
    assert relay.cost() == Decimal("0.005")


def test_a_config_with_faults_leaves_the_prices_as_they_are(relay: Relay) -> None:
    relay.write("0.005", timezone="Nowhere/At_All")
    bump(relay.folder / "run")

    with capture_logs() as logs:
        relay.look()

    assert relay.cost() == Decimal("0.001")
    assert [line["event"] for line in logs] == ["config.refused"]
    answer = relay.answer()
    assert answer is not None
    assert answer.state == "refused"
    assert [fault.split(" ")[0] for fault in answer.faults] == ["timezone"]
