"""The public prices of the library genai-prices: its data only, as it was installed; nothing is fetched.

Loaded when a price is first asked for, for it takes 30 MB. What it does not know for certain is no price here: a tier
or a region without a price of its own, prices that it calls approximate, models that everybody serves at a price of
their own, on a host that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import structlog

from llm_one_api.pricing.configured import STANDARD_TIERS
from llm_one_api.pricing.rates import Rates
from llm_one_api.values import Value

log = structlog.get_logger(__name__)

_MOST_KEPT = 2000
_LONGEST_NAME = 200
_APPROXIMATE = frozenset({"databricks", "perplexity", "zhipuai"})
"""Providers whose prices are, in the table's own words, converted, regional, or the highest of several."""
_MAKERS = {"openai": ("openai.com",), "anthropic": ("anthropic.com",), "google": ("googleapis.com",)}
"""Who serves models that cannot be run by others, with their domains: one that the table does not know is a region."""
_OPEN = re.compile(r"gpt-?oss|gemma")
"""Models of theirs that anybody can run."""
_UNITS = {
    "input_mtok": ("input", 6), "output_mtok": ("output", 6),
    "cache_read_mtok": ("cached_input", 6), "cache_write_mtok": ("cache_write", 6),
    "cache_write_5m_mtok": ("cache_write", 6), "cache_write_1h_mtok": ("cache_write_1h", 6),
    "input_audio_mtok": ("audio_input", 6), "output_audio_mtok": ("audio_output", 6),
    "input_image_mtok": ("image_input", 6), "output_image_mtok": ("image_output", 6),
    "output_reasoning_mtok": ("reasoning", 6), "web_searches_kcount": ("web_search", 3),
    "audio_hours": ("audio_hour", 0), "input_audio_hours": ("audio_hour", 0),
}  # fmt: skip
"""Its names, ours, and of how many units (a power of ten) its price is."""
_BESIDE = re.compile(
    r"storage_searches_kcount|(cache_)?(input|output)_video\w*|cache_(audio|image)_(read|write)\w*_mtok"
)
"""What upstreams do not tell in their usage: it cannot be charged, or is charged as the rest."""


class Listed(Value, frozen=True, kw_only=True):
    """A price of the table."""

    steps: tuple[tuple[int, Rates], ...]
    """From the highest to 0: with more input tokens than so many, all tokens are charged at these rates."""
    since: date | None = None
    """The day from which it holds, as far as the table tells."""

    def rates_for(self, prompt_tokens: int | None) -> Rates | None:
        """Give the rates of a call with so much input; None: it depends on what is not known."""
        if prompt_tokens is None:
            return self.steps[0][1] if len(self.steps) == 1 else None
        return next(rates for above, rates in self.steps if prompt_tokens > above or not above)


@cache
def bundled() -> list[Any]:
    """Load the prices that came with the library."""
    from genai_prices.data import providers

    log.info("pricing.table", version=version("genai-prices"))
    found: list[Any] = providers
    return found


class Table:
    """Finds prices, and remembers them by day."""

    def __init__(self, load: Callable[[], list[Any]] = bundled) -> None:
        """Have *load* give the library's providers, when a price is first asked for."""
        self._load = load
        self._found: dict[tuple[Any, ...], Listed | None] = {}
        self._by_the_clock: set[tuple[str, str | None]] = set()

    def find(self, model: str, url: str | None, tiers: tuple[str, ...], at: datetime) -> Listed | None:
        """Tell what *model* costs at *at* with the provider at *url* (None: not known), with all *tiers* it ran in.

        A tier is a word such as `flex`; `speed=fast` names it by another field. None: no price is known for certain.
        """
        at = at.astimezone(UTC)
        clock = (at.hour, at.minute) if (model, url) in self._by_the_clock else None
        key = (model, url, tiers, at.date(), clock)
        try:
            return self._found[key]
        except KeyError:
            pass
        if len(self._found) >= _MOST_KEPT:
            self._found.clear()
        found = self._look_up(model, url, tiers, at)
        if clock is None and (model, url) in self._by_the_clock:
            key = (*key[:4], (at.hour, at.minute))
        self._found[key] = found
        return found

    def _look_up(self, name: str, url: str | None, tiers: tuple[str, ...], at: datetime) -> Listed | None:
        if len(name) > _LONGEST_NAME:
            return None
        provider = _provider(self._load(), name, url)
        model = provider and provider.find_model(name, all_providers=self._load())
        if not provider or not model:
            return None
        prices = model.prices if isinstance(model.prices, list) else None
        if prices and any(hasattr(each.constraint, "start_time") for each in prices):
            if len(self._by_the_clock) >= _MOST_KEPT:
                self._by_the_clock.clear()
            self._by_the_clock.add((name, url))
        day = None
        if prices is not None:
            active = next((each for each in reversed(prices) if _is_active(each.constraint, at)), None)
            if active is None:
                return None  # the library takes the first one, which is of another time
            day = getattr(active.constraint, "start_date", None)
            if hasattr(active.constraint, "start_time") and any(_begins_after(each.constraint, at) for each in prices):
                return None  # prices by the hour say nothing of the day from which they hold: perhaps a later one
        context: dict[str, str] = {}
        for tier in tiers:
            # The model of another provider, which this one offers too, has that one's tiers and not this one's.
            variant = _variant(model, tier, at) if any(model is each for each in provider.models) else None
            if variant is None:
                return None
            context |= variant.when
            day = max(filter(None, (day, getattr(variant.constraint, "start_date", None))), default=None)
        steps = _steps(model.get_prices(at, context), least_seconds=_least_seconds(provider.id, model.id))
        return Listed(steps=steps, since=day) if steps else None


def _provider(providers: list[Any], name: str, url: str | None) -> Any:
    """Find who serves *name*: by the host, else, where nobody else can, by the name."""
    if url is not None:
        known = next((each for each in providers if re.match(each.api_pattern, url)), None)
        if known is not None:
            return None if known.id in _APPROXIMATE else known
    if _OPEN.search(name.lower()):
        return None
    host = _host(url)
    for each in providers:
        if each.id in _MAKERS and each.model_match is not None and each.model_match.is_match(name.lower()):
            return None if host.endswith(_MAKERS[each.id]) else each
    return None


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:  # an upstream's name can be anything
        return ""


def _is_active(constraint: Any, at: datetime) -> bool:
    return constraint is None or bool(constraint.active(at))


def _begins_after(constraint: Any, at: datetime) -> bool:
    return hasattr(constraint, "start_date") and not constraint.active(at)


def _variant(model: Any, tier: str, at: datetime) -> Any:
    """Find the prices that *model* has for *tier* at *at*."""
    field, _, word = tier.rpartition("=")
    wanted = [{field: word}] if field else [{"service_tier": word}, {"processing": word}]
    for variant in model.price_variants or ():
        if variant.when in wanted and _is_active(variant.constraint, at):
            return variant
    return None


def _least_seconds(provider: str, model: str) -> int:
    """Tell how short audio can be: Groq charges for ten seconds at least, as the library knows too."""
    return 10 if provider == "groq" and model.startswith("whisper") else 0


def _steps(prices: Any, *, least_seconds: int) -> tuple[tuple[int, Rates], ...]:
    """Turn the library's prices into ours; empty: there is a unit among them that we do not count."""
    known: dict[str, Any] = {}
    for name, price in vars(prices).items():
        if price is None or _BESIDE.fullmatch(name):
            continue
        if name not in _UNITS:
            return ()
        known[name] = price
    if not known:
        return ()
    starts = sorted(
        {0, *(tier.start for price in known.values() for tier in getattr(price, "tiers", ()))}, reverse=True
    )
    return tuple((start, _rates({name: _at(known[name], start) for name in known}, least_seconds)) for start in starts)


def _at(price: Any, start: int) -> Decimal:
    """Give the price that holds above *start* input tokens."""
    if isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if tier.start <= start]
    found: Decimal = passed[-1] if passed else price.base
    return found


def _rates(prices: dict[str, Decimal], least_seconds: int) -> Rates:
    ours = {_UNITS[name][0]: price.scaleb(-_UNITS[name][1]) for name, price in prices.items()}
    # Audio never costs what text does: where only text has a price, that of audio is missing from the table.
    return Rates.of(apart=("audio_input", "audio_output"), least_seconds=least_seconds, **ours)


def tiers_of(service_tier: str | None, raw: Any) -> tuple[str, ...]:
    """Name what a call ran in, beyond the ordinary: its service tier, and what Anthropic tells in its usage."""
    tiers: tuple[str, ...] = ()
    told = service_tier or (raw.get("service_tier") if raw else None)
    if isinstance(told, str) and told not in STANDARD_TIERS:
        tiers = (told,)
    if raw:
        speed, geo = raw.get("speed"), raw.get("inference_geo")
        if isinstance(speed, str) and speed not in STANDARD_TIERS:
            tiers += (f"speed={speed}",)
        if isinstance(geo, str) and geo not in _ANYWHERE:
            tiers += (f"inference_geo={geo}",)
    return tiers


_ANYWHERE = frozenset({"", "global", "not_available"})
