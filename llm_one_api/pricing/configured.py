"""The operator's prices: by a model's name and the day of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from llm_one_api.pricing.rates import Rates
from llm_one_api.values import Value

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand"})
"""How providers call what is charged at the ordinary price (OpenAI, Anthropic, Groq)."""


class Entry(Value, frozen=True, kw_only=True):
    """What one model costs for a time."""

    name: str
    """The name of a model; with `*` at its end, the beginning of names."""
    since: date | None = None
    """None: without a beginning."""
    until: date | None = None
    """The last day; None: for good."""
    rates: Rates | None
    """None: it is about its tiers alone."""
    tiers: Mapping[str, Rates] = {}

    def holds_on(self, day: date) -> bool:
        """Tell whether this is the price of *day*."""
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)

    def of_tier(self, tier: str) -> Rates | None:
        """Give the rates for *tier*; None: they are not known."""
        found = self.tiers.get(tier)
        return self.rates if found is None and tier in STANDARD_TIERS else found

    def covers(self, tier: str) -> bool:
        """Tell whether nobody else is asked for the price of *tier*; who prices some tiers only leaves the others."""
        return self.rates is not None or tier in self.tiers


class PriceList:
    """All of them."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Take the entries; those of one name do not overlap."""
        self._exact: dict[str, list[Entry]] = {}
        beginnings: dict[str, list[Entry]] = {}
        for entry in entries:
            names = beginnings if entry.name.endswith("*") else self._exact
            names.setdefault(entry.name.removesuffix("*"), []).append(entry)
        self._beginnings = sorted(beginnings.items(), key=lambda pair: -len(pair[0]))
        self._length = sum(map(len, self._exact.values())) + sum(map(len, beginnings.values()))

    def __len__(self) -> int:
        return self._length

    def find(self, names: Sequence[str | None], day: date) -> Entry | None:
        """Give the price that the first of *names* has on *day*; beginnings of names, the longest first, come last."""
        known = [name for name in names if name]
        for name in known:
            for entry in self._exact.get(name, ()):
                if entry.holds_on(day):
                    return entry
        for beginning, entries in self._beginnings:
            if any(name.startswith(beginning) for name in known):
                for entry in entries:
                    if entry.holds_on(day):
                        return entry
        return None
