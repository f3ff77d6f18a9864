"""What a unit costs, and what a usage comes to: exact decimals, rounded once at the end."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from fractions import Fraction
from typing import Any

from llm_one_api.values import Usage, Value

PLACES = 12
"""Decimal places of money in the ledger: what is finer is rounded half to even."""
MOST = Decimal(1_000_000)
"""No call costs as much: a figure that says so is wrong, and the ledger's sums could not hold it."""

_exact = Context(prec=300, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_plain = Context(prec=40)
_NOTHING, _ONE = Decimal(0), Decimal(1)
_SMALLEST = Decimal(1).scaleb(-PLACES)

_Kinds = tuple[tuple[tuple[str, str], ...], ...]
_INPUT: _Kinds = (
    (
        ("cached_input", "cache_read_tokens"),
        ("cache_write", "cache_write_5m_tokens"),
        ("cache_write_1h", "cache_write_1h_tokens"),
    ),
    (("audio_input", "audio_input_tokens"), ("image_input", "image_tokens")),
)
_OUTPUT: _Kinds = (
    (("reasoning", "reasoning_tokens"),),
    (("audio_output", "audio_output_tokens"), ("image_output", "image_output_tokens")),
)
"""The parts that may have a price of their own, with their figures. Those of one kind do not overlap; two kinds may."""
_PARTS = dict(part for kinds in (_INPUT, _OUTPUT) for kind in kinds for part in kind)


class Rates(Value, frozen=True, kw_only=True):
    """USD for one unit each. None: it has no price of its own.

    Then a part is charged as its whole (cached input as input), unless it is named in `apart`.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    reasoning: Decimal | None = None
    image: Decimal | None = None
    """For an image that was made."""
    audio_hour: Decimal | None = None
    """For an hour of audio, of which seconds are told."""
    least_seconds: int = 0
    """What shorter audio is charged as."""
    web_search: Decimal | None = None
    """For a search that the provider made for the call, and told of in its usage."""
    apart: frozenset[str] = frozenset()
    """What is known to cost something else than its whole, but not what: with any of it, no cost is known."""

    @classmethod
    def of(cls, **fields: Any) -> Rates:
        """Make them, with what follows from them: what stands in `apart` and has a price all the same is not apart.

        Writing to a cache for an hour costs more than for 5 minutes, where that has a price of its own.
        """
        apart = set(fields.pop("apart", ()))
        if fields.get("cache_write") is not None:
            apart.add("cache_write_1h")
        return cls(apart=frozenset(name for name in apart if fields.get(name) is None), **fields)

    def tier(self, **prices: Any) -> Rates:
        """Make those of a tier of the same model: what has a price of its own here has one there too, if untold."""
        return Rates.of(apart=[name for name in _APART if getattr(self, name) is not None], **prices)

    @property
    def prices_tokens(self) -> bool:
        """Whether tokens have a price, or only images, minutes and searches."""
        return any(getattr(self, name) is not None for name in ("input", "output", *_PARTS))


_APART = (*_PARTS, "image", "audio_hour", "web_search")


def cost_of(usage: Usage, rates: Rates, *, searches: int = 0, has_output: bool = True) -> Decimal | None:
    """Tell what *usage* comes to, to twelve places; None where something that has a price is not known.

    *has_output* is False for calls that have none, such as embeddings: then nobody tells how much there was.
    """
    if any(_count(usage, name, searches) for name in rates.apart):
        return None
    terms: list[Decimal | Fraction] = []
    if rates.prices_tokens:
        for whole, price, parts, needed in (
            (usage.prompt_tokens, rates.input, _INPUT, True),
            (usage.completion_tokens, rates.output, _OUTPUT, has_output),
        ):
            if whole is None:
                if needed and price:
                    return None
                continue
            charge = _charge(usage, rates, whole, price, parts)
            if charge is None:
                return None
            terms.append(charge)
    if rates.image is not None and usage.images is not None:
        terms.append(_exact.multiply(rates.image, usage.images))
    if rates.audio_hour is not None and usage.audio_seconds is not None:
        told = Fraction(repr(usage.audio_seconds))
        seconds = max(told, Fraction(rates.least_seconds)) if told else told
        terms.append(Fraction(rates.audio_hour) * seconds / 3600)
    if not terms:
        return None
    if searches:
        if rates.web_search is None:
            return None
        terms.append(_exact.multiply(rates.web_search, searches))
    return money(_total(terms))


def money(amount: Decimal | Fraction) -> Decimal | None:
    """Round *amount* to the ledger's places, half to even; None if it can be no call's cost."""
    if not 0 <= amount < MOST:
        return None
    if isinstance(amount, Fraction):
        rounded = Decimal(round(amount * 10**PLACES)).scaleb(-PLACES, _exact)
    else:
        rounded = amount.quantize(_SMALLEST, context=_exact)
    return rounded.normalize(_plain) if rounded % 1 else rounded.quantize(_ONE)


def _charge(usage: Usage, rates: Rates, whole: int, price: Decimal | None, parts: _Kinds) -> Decimal | None:
    """Add up the input or the output: each part at its own price, the rest at the whole's."""
    total, charged = _NOTHING, 0
    for kind in parts:
        apart = 0
        for name, figure in kind:
            count = getattr(usage, figure)
            if not count:
                continue
            if count > whole:
                return None
            own = getattr(rates, name)
            if own is not None and own != price:
                apart += count
                total = _exact.fma(count, own, total)
        if apart and charged:
            return None  # is the audio among the cached? Nobody says
        charged += apart
    rest = whole - charged
    if rest < 0 or (rest and price is None):
        return None
    return _exact.fma(rest, price, total) if rest and price else total


def _count(usage: Usage, name: str, searches: int) -> float:
    match name:
        case "image":
            return usage.images or 0
        case "audio_hour":
            return usage.audio_seconds or 0
        case "web_search":
            return searches
    return getattr(usage, _PARTS[name]) or 0


def _total(terms: list[Decimal | Fraction]) -> Decimal | Fraction:
    if any(isinstance(term, Fraction) for term in terms):
        return sum((Fraction(term) for term in terms), Fraction())
    total = _NOTHING
    for term in terms:
        total = _exact.add(total, term)  # type: ignore[arg-type]
    return total
