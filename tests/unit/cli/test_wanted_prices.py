"""What `prices missing` proposes, filled in, is a config that prices the calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.cli.wanted_prices import wanted
from llm_one_api.settings import load
from llm_one_api.values import Usage, UsageRecord
from tests.harness.records import record


def call(number: int = 1, **changes: Any) -> UsageRecord:
    return record(number, **{"cost": None, "upstream": "elsewhere", "upstream_model": "house-1", **changes})


def filled(text: str) -> str:
    """Write an amount behind each price."""
    return re.sub(r"^( +(?:input|output|\w+_input|\w+_output|\w+_write\w*|image|\w+_minute|\w+_search):)$", r"\1 2", text, flags=re.MULTILINE)  # fmt: skip  # noqa: E501


CALLS = [
    call(1),
    call(2, service_tier="flex"),
    call(3, response_model='a: "name" # of its own', usage_raw={"speed": "fast", "inference_geo": "us"}),
    call(4, response_model="qwen2.5:7b", usage=Usage(prompt_tokens=50, completion_tokens=9, cache_read_tokens=5)),
    call(5, response_model="modelo-ñ", usage=Usage(prompt_tokens=50, completion_tokens=9, audio_output_tokens=5)),
    call(6, response_model="123", usage=Usage(prompt_tokens=50), endpoint="embeddings"),
    call(7, response_model="draws", usage=Usage(images=2), endpoint="images"),
    call(8, response_model="hears", usage=Usage(audio_seconds=2.5), endpoint="audio"),
    call(9, response_model="searches", usage_raw={"server_tool_use": {"web_search_requests": 2}}),
    call(10, response_model="null", usage=Usage(prompt_tokens=9, completion_tokens=9, cache_write_1h_tokens=5)),
]


def test_it_prices_every_call_once_it_is_filled_in(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(filled(wanted(CALLS)))

    price = load(config, {}).pricer().price

    assert {price(each).price_source for each in CALLS} == {"configured"}


@pytest.mark.parametrize("each", CALLS, ids=lambda each: each.response_model or each.request_id)
def test_it_asks_for_what_the_calls_have_and_no_more(each: UsageRecord) -> None:
    prices = re.findall(r"^ {4,}(\w+):$", wanted([each]), re.MULTILINE)

    assert len(prices) == len(set(prices))
    assert ("image" in prices) is bool(each.usage.images)
    assert ("audio_minute" in prices) is bool(each.usage.audio_seconds)
    assert ("output" in prices) is bool(each.usage.completion_tokens)
    assert ("cached_input" in prices) is bool(each.usage.cache_read_tokens)


def test_calls_that_no_price_would_help_are_left_out() -> None:
    faulty = call(usage_faults=("cache_read_tokens > prompt_tokens",))
    nothing = call(usage=Usage())

    assert wanted([faulty, nothing]) == ""
    assert wanted([]) == ""
