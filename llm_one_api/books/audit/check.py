"""What a check is, what it may look at, and what it has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from llm_one_api.books.reports.export.target import Target
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.values import UsageRecord, Value

MOST_KEPT = 100_000
"""Differences that are kept one by one; what is beyond is counted."""

_EVER = datetime.min.replace(tzinfo=UTC)

State = Literal["agrees", "differs", "unchecked", "elsewhere", "told"]
"""`unchecked`: what it needs is away. `elsewhere`: there is nothing of the kind here. `told`: a list, no comparison."""


class Difference(Value, frozen=True, kw_only=True):
    """Two sides that do not say the same of one thing."""

    what: Mapping[str, Any]
    """The thing: a request's id, or a slot and its dimensions."""
    says: Mapping[str, Any]
    """What each side says of it."""
    repairable: bool
    """The truth is known, so that `repair` can put it right."""


@dataclass(slots=True)
class Findings:
    """What a check has found."""

    compared: dict[str, int] = field(default_factory=dict)
    """How many of what."""
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    """How many differences there are, also where they are too many to be kept."""
    repairable: int = 0
    """How many of them can be put right."""
    unchecked: str | None = None
    """Why it, or a part of it, could not be checked."""
    elsewhere: str | None = None
    """Why there is nothing to check here."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and no difference."""
    only_tells: bool = False

    def add(self, difference: Difference) -> None:
        """Take note of a difference."""
        self.count += 1
        self.repairable += difference.repairable
        if len(self.differences) < MOST_KEPT:
            self.differences.append(difference)

    @property
    def state(self) -> State:
        """Put it into a word."""
        if self.count:
            return "differs"
        if self.unchecked:
            return "unchecked"
        if self.elsewhere:
            return "elsewhere"
        return "told" if self.only_tells else "agrees"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a check may look at. Nothing of it is open before it is used."""

    ledger: Ledger
    since: datetime
    until: datetime
    """The calls admitted from *since* until before *until* are looked at, where a check can tell them apart."""
    now: datetime
    quarters_since: datetime = _EVER
    """Sums by quarters of the time before are no longer kept, and stand there in part at most."""
    memory: MemoryStatsPlugin | None = None
    """None: it is not on."""
    journal: Path | None = None
    """This machine's folder, be it there or not."""
    limits: LimitStore | None = None
    """None: no quota is set, or none is looked after because `llm-one-api up` does not run."""
    exports: Callable[[], Target] | None = None
    """Opens the place of exports, or raises TargetError; None: there is none."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    """The one time zone, by which days and months are told."""
    price: Callable[[UsageRecord], UsageRecord] = lambda record: record
    """Puts its cost on a record that a repair takes from the journal."""


class Check(Protocol):
    """Compares two sides that have to say the same. One file a check; `audit.py` has the list."""

    @property
    def name(self) -> str:
        """A word, such as `rollups`."""

    @property
    def compares(self) -> str:
        """What must be equal, in a few words."""

    @property
    def mends(self) -> str:
        """What `repair` does, in a few words; where it can do nothing, what somebody else can do."""

    def run(self, context: Context) -> Findings:
        """Compare. Raises what the ledger raises; whatever else is away is said in the findings."""

    def repair(self, context: Context, findings: Findings) -> None:
        """Put right what of *findings* can be put right; `run` tells afterwards what is left."""
