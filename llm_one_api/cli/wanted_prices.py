"""Writes the part of a config that is missing: the prices of some calls, to be filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from llm_one_api.pricing.pricer import NO_OUTPUT, searches_of
from llm_one_api.pricing.table import tiers_of
from llm_one_api.values import UsageRecord

_PLAIN = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
_PARTS = (
    ("cached_input", "cache_read_tokens"),
    ("cache_write", "cache_write_5m_tokens"),
    ("cache_write_1h", "cache_write_1h_tokens"),
    ("audio_input", "audio_input_tokens"),
    ("image_input", "image_tokens"),
    ("audio_output", "audio_output_tokens"),
    ("image_output", "image_output_tokens"),
)


def wanted(calls: Iterable[UsageRecord]) -> str:
    """Write the section `pricing` that *calls* would need, the amounts left out; empty where no price would help."""
    models: dict[str, dict[str, dict[str, None]]] = {}
    for call in calls:
        names = dict.fromkeys(_needed(call))
        if names and not call.usage_faults:
            name = call.response_model or call.upstream_model or call.model
            tier = "+".join(tiers_of(call.service_tier, call.usage_raw))
            models.setdefault(name, {}).setdefault(tier, {}).update(names)
    if not models:
        return ""
    return "pricing:\n" + "".join(line for name, tiers in models.items() for line in _model(name, tiers))


def _model(name: str, tiers: dict[str, dict[str, None]]) -> Iterator[str]:
    yield f"  {_scalar(name)}:\n"
    if any(prices.keys() - {"image", "audio_minute", "web_search"} for prices in tiers.values()):
        yield "    per: 1M\n"
    ordinary = tiers.pop("", None)
    yield from (f"    {price}:\n" for price in ordinary or {})
    if tiers:
        yield "    tiers:\n"
        for tier, prices in tiers.items():
            yield f"      {_scalar(tier)}:\n"
            yield from (f"        {price}:\n" for price in prices)


def _needed(call: UsageRecord) -> Iterator[str]:
    """Name the prices that *call* has something for."""
    usage = call.usage
    if usage.prompt_tokens is not None:
        yield "input"
    if usage.completion_tokens is not None and call.endpoint not in NO_OUTPUT:
        yield "output"
    yield from (price for price, figure in _PARTS if getattr(usage, figure))
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        if usage.images:
            yield "image"
        if usage.audio_seconds:
            yield "audio_minute"
    if searches_of(call.usage_raw):
        yield "web_search"


def _scalar(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name)
