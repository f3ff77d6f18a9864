"""What providers say that a call cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_one_api.pricing.reported import reported_cost


@pytest.mark.parametrize(
    ("raw", "cost"),
    [
        # OpenRouter
        ({"prompt_tokens": 194, "cost": 0.00014}, "0.00014"),
        ({"cost": 0.95, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.9}}, "0.95"),
        ({"cost": 0.0033789, "cost_details": {"upstream_inference_cost": 0.0033789}}, "0.0033789"),
        ({"cost": 0, "is_byok": False}, "0"),
        ({"cost": 0, "cost_details": {"upstream_inference_cost": None}}, "0"),
        # … with a key of the caller's own at another provider, which charges beside it
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0360795}}, "0.0360795"),
        ({"cost": 0.0018, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.036}}, "0.0378"),
        ({"cost": 0, "cost_details": {"upstream_inference_cost": 0.036}}, "0.036"),
        ({"cost": 0.0018, "is_byok": True}, None),
        ({"cost": 0.0018, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        # Perplexity
        ({"cost": {"input_tokens_cost": 0.000089, "request_cost": 0.008, "total_cost": 0.008203}}, "0.008203"),
        ({"cost": {"currency": "USD", "total_cost": 0.008203}}, "0.008203"),
        ({"cost": {"currency": "EUR", "total_cost": 0.008203}}, None),
        ({"cost": {"input_tokens_cost": 0.000089}}, None),
        # xAI
        ({"cost_in_usd_ticks": 37756000}, "0.0037756"),
        ({"cost_in_usd_ticks": 200000000, "cost": 5}, "0.02"),
        ({"cost_in_usd_ticks": 0}, "0"),
        # Nobody
        (None, None),
        ({}, None),
        ({"prompt_tokens": 5}, None),
        *[
            ({"cost": value}, None)
            for value in (None, True, "0.5", -0.1, float("nan"), float("inf"), 1e300, 10**400, [1])
        ],
        *[({"cost": {"total_cost": value}}, None) for value in (None, False, "0.5", -1)],
        *[({"cost_in_usd_ticks": value}, None) for value in (-1, 10**40, "7")],
    ],
)
def test_the_cost_is_the_one_that_is_told(raw: dict[str, Any] | None, cost: str | None) -> None:
    found = reported_cost(raw)

    assert found == (None if cost is None else Decimal(cost))


def test_a_number_is_read_as_it_was_written() -> None:
    raw = msgspec.json.decode(b'{"cost": 0.1, "cost_details": {"upstream_inference_cost": 0.2}, "is_byok": true}')

    assert str(reported_cost(raw)) == "0.3"
