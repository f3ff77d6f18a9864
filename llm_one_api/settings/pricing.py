"""The section `pricing`: the operator's own prices, exact, by model and day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from llm_one_api.pricing import Entry, Rates
from llm_one_api.settings.kinds import Expect, fault
from llm_one_api.settings.sections import Section

ONE, SEVERAL = "[one]", "[several]"
"""What pydantic puts into a fault's path for one price and for a list of them; nobody wrote it."""

_BATCH = "batch"
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TOKENS = {"1K": 3, "1M": 6}
_SAME = {"prompt": "input", "completion": "output"}
_OF_TOKENS = (
    "input", "prompt", "output", "completion", "cached_input", "cache_write", "cache_write_1h",
    "audio_input", "audio_output", "image_input", "image_output",
)  # fmt: skip
_OF_OTHERS = ("image", "audio_minute", "web_search")


def _is_amount(value: Any) -> Any:
    """Let through only what is read exactly."""
    return repr(value) if isinstance(value, float) else value


def _is_day(value: Any) -> Any:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("no day")
    return value


def _is_priced_name(name: str) -> str:
    if "*" in name[:-1] or name == "*":
        raise fault("may have a * at its end only, behind the beginning of the names that it stands for")
    return name


def _one_at_a_time(prices: tuple[PriceSettings, ...]) -> tuple[PriceSettings, ...]:
    if not prices:
        raise fault("must have at least one price")
    in_order = sorted(enumerate(prices), key=lambda pair: pair[1].since or date.min)
    for (number, earlier), (other, later) in pairwise(in_order):
        if earlier.until is None or later.since is None or later.since <= earlier.until:
            first, second = sorted((number, other))
            raise fault(f"holds at the same time as entry {first}: give each an end or a beginning", field=str(second))
    return prices


Amount = Annotated[
    Decimal | None,
    BeforeValidator(_is_amount),
    Field(ge=0, le=10**6, max_digits=25, decimal_places=18, allow_inf_nan=False),
    Expect("an amount in USD between 0 and 1000000, such as 0.15"),
]
Day = Annotated[date | None, BeforeValidator(_is_day), Expect("a day such as 2026-01-31")]
Per = Annotated[
    Literal["1K", "1M"] | None,
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    Expect("1K or 1M: of how many tokens the prices are"),
]
TierName = Annotated[str, Field(min_length=1, max_length=200)]


class TierSettings(Section):
    """Prices in USD of calls that the provider served in another tier than the ordinary one, such as `flex`.

    What has a price of its own in the model's ordinary prices needs one here too; else calls with it have no cost.
    """

    input: Amount = None
    """Input tokens: `per` says of how many, as for all tokens."""
    prompt: Amount = None
    """The same as `input`; give one of the two."""
    output: Amount = None
    """Output tokens."""
    completion: Amount = None
    """The same as `output`; give one of the two."""
    cached_input: Amount = None
    """Input tokens that were read from the provider's cache. Nothing: as `input`."""
    cache_write: Amount = None
    """Input tokens that were written to its cache, for 5 minutes where it matters. Nothing: as `input`."""
    cache_write_1h: Amount = None
    """Input tokens that were written to its cache for an hour. Nothing: as `input`; beside `cache_write`: no cost."""
    audio_input: Amount = None
    """Audio tokens in the input. Nothing: as `input`."""
    audio_output: Amount = None
    """Audio tokens in the output. Nothing: as `output`."""
    image_input: Amount = None
    """Image tokens in the input. Nothing: as `input`."""
    image_output: Amount = None
    """Image tokens in the output. Nothing: as `output`."""
    image: Amount = None
    """One image that was made."""
    audio_minute: Amount = None
    """A minute of audio, where the provider tells its length. Parts of minutes are charged as parts."""
    web_search: Amount = None
    """One search that the provider made for the call and tells of in its usage. Nothing: such calls have no cost."""

    @model_validator(mode="after")
    def _has_one_name_each(self) -> TierSettings:
        for name, same in _SAME.items():
            if getattr(self, name) is not None and getattr(self, same) is not None:
                raise fault(f"is the same as {same}: give one of the two", field=name)
        if not self.has_prices:
            raise fault("must have a price, such as input and output")
        return self

    @property
    def has_prices(self) -> bool:
        """Whether there is any price in it."""
        return any(getattr(self, name) is not None for name in (*_OF_TOKENS, *_OF_OTHERS))

    @property
    def prices_tokens(self) -> bool:
        """Whether there is a price for tokens."""
        return any(getattr(self, name) is not None for name in _OF_TOKENS)

    def units(self, power: int) -> dict[str, Any]:
        """Give the prices of single units, where those of tokens are of 10^*power*."""
        units = {
            _SAME.get(name, name): price.scaleb(-power)
            for name in _OF_TOKENS
            if (price := getattr(self, name)) is not None
        }
        if self.audio_minute is not None:
            units["audio_hour"] = self.audio_minute * 60
        return units | {name: price for name in ("image", "web_search") if (price := getattr(self, name)) is not None}


class PriceSettings(TierSettings):
    """What a model costs, in USD, by the name that upstreams answer with, that they are asked for, or that callers use.

    A name with `*` at its end stands for all that begin so. Instead of one price there can be a list of them, each for
    its time; times must not overlap. `docs/prices.md` says which price a call gets.
    """

    per: Per = None
    """Of how many tokens the prices are. Must be given with any price of tokens."""
    since: Day = Field(default=None, alias="from")
    """The first day, in `timezone`, of the calls that it is for. Nothing: no beginning."""
    until: Day = None
    """The last day. Nothing: no end."""
    batch: TierSettings | None = None
    """Prices of the tier `batch`."""
    tiers: Annotated[dict[TierName, TierSettings], Expect("prices by tier, as the provider names it")] = Field(
        default={}
    )
    """Prices of other tiers, by the names that the provider has for them."""

    @model_validator(mode="after")
    def _can_be_used(self) -> PriceSettings:
        if self.per is None and any(each.prices_tokens for each in (self, self.batch, *self.tiers.values()) if each):
            raise fault("must be given: 1K or 1M, of how many tokens the prices are", field="per")
        if self.since and self.until and self.until < self.since:
            raise fault(f"must not be before from ({self.since})", field="until")
        if self.batch and _BATCH in self.tiers:
            raise fault("is the same as tiers.batch: give one of the two", field=_BATCH)
        return self

    @property
    def has_prices(self) -> bool:
        """Whether there is any price in it, be it of a tier."""
        return super().has_prices or self.batch is not None or bool(self.tiers)

    def entry(self, name: str) -> Entry:
        """Give it as the price of the model *name*."""
        power = _TOKENS.get(self.per or "", 0)
        units = self.units(power)
        rates = Rates.of(**units)
        tiers = {**self.tiers, **({_BATCH: self.batch} if self.batch else {})}
        return Entry(
            name=name,
            since=self.since,
            until=self.until,
            rates=rates if units else None,
            tiers={tier: rates.tier(**prices.units(power)) for tier, prices in tiers.items()},
        )


PricedName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_priced_name)]
Prices = Annotated[
    Annotated[PriceSettings, Tag(ONE)]
    | Annotated[tuple[PriceSettings, ...], AfterValidator(_one_at_a_time), Tag(SEVERAL)],
    Discriminator(lambda value: SEVERAL if isinstance(value, list | tuple) else ONE),
]


def entries(pricing: dict[str, Any]) -> Iterator[Entry]:
    """Give all prices of the section."""
    for name, prices in pricing.items():
        for price in prices if isinstance(prices, tuple) else (prices,):
            yield price.entry(name)
