"""What a call would cost, as a cost quota asks: where a price is known, no call is said to have none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llm_one_api.limiting import price
from llm_one_api.pricing.rates import MOST
from llm_one_api.settings import Settings

URL = {"api_base": "http://h"}
SETTINGS = Settings.model_validate(
    {
        "models": {"painter": URL, "listener": URL, "writer": URL, "stranger": URL},
        "pricing": {
            "painter": {"image": "0.04"},
            "listener": {"audio_minute": "0.006"},
            "writer": {"per": "1M", "input": "1000", "output": "1000"},
        },
    }
)


@pytest.mark.parametrize(
    ("model", "endpoint", "own", "out", "cost"),
    [
        ("writer", "chat", 10, 1000, Decimal("1.01")),
        ("writer", "chat", 10, 2**38, MOST),
        ("painter", "images", 10, 0, Decimal("0.04")),
        ("painter", "image_edits", 0, 0, Decimal("0.04")),
        ("painter", "image_variations", 0, 0, Decimal("0.04")),
        ("listener", "transcriptions", 0, 1000, Decimal(0)),
        ("listener", "translations", 0, 1000, Decimal(0)),
        ("painter", "chat", 10, 1000, None),
        ("listener", "chat", 10, 1000, None),
        ("stranger", "chat", 10, 1000, None),
        ("stranger", "images", 10, 0, None),
        ("stranger", "transcriptions", 0, 2**38, None),
    ],
)
def test_what_is_reserved_of_a_cost_quota(model: str, endpoint: str, own: int, out: int, cost: Decimal | None) -> None:
    target = SETTINGS.routes()[model].targets[0]

    assert price(SETTINGS.pricer().price, target, endpoint, own, out) == cost
