"""What a fault is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from tests.chaos.ledgers import LedgerKind
from tests.chaos.scene import Scene

GATEWAY, RELAY, INGEST, DELIVER, BROKER, LEDGER, PLUGIN, CLOCK = (
    "gateway", "relay", "ingest", "deliver", "broker", "ledger", "plugin", "clock",
)  # fmt: skip
RECORDS = "records"
"""That records of new calls come into the journal."""
WAY = frozenset({RECORDS, RELAY, BROKER, INGEST, LEDGER})
"""What a record needs to get into the ledger."""


class Fault(ABC):
    """Something that is done to the product once in a run."""

    name: ClassVar[str]
    """As the report has it."""
    breaks: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    """What must work for it to hit."""
    lasts: ClassVar[float] = 0.0
    """Seconds between the hit and the healing."""
    ledger: ClassVar[LedgerKind | None] = None
    """The ledger that there must be; None: any."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def can_be_made(self) -> bool:
        """Tell whether this machine lets us."""
        return True

    @abstractmethod
    def strike(self) -> None:
        """Make it. Raises AssertionError if there was no occasion."""

    def has_hit(self) -> bool:
        """Tell whether the product has felt it."""
        return True

    def heal(self) -> None:  # noqa: B027 (many need none)
        """Take back what does not end by itself. Also called if it was not made, or only half."""

    def is_over(self) -> bool:
        """Tell whether all parts work again."""
        return True

    @classmethod
    def excludes(cls, other: type[Fault]) -> bool:
        """Tell whether both at a time would keep one of them from hitting."""
        return bool(cls.breaks & (other.breaks | other.needs) or other.breaks & cls.needs)
