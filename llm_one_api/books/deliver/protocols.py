"""What a delivery needs of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from llm_one_api.values import UsageRecord


class Lease(Protocol):
    """The right to deliver to one plugin, and where to go on."""

    @property
    def seq(self) -> int:
        """The last record delivered."""

    @property
    def since(self) -> int:
        """The record after which the present run began."""

    @property
    def fence(self) -> int:
        """Which lease it is."""

    @property
    def failures(self) -> int:
        """How often delivery failed since it last got on."""

    @property
    def refusals(self) -> int:
        """How often in a row the record after *seq* was refused."""

    @property
    def deaths(self) -> int:
        """How often a process ended that had that record in hand."""

    @property
    def after_death(self) -> bool:
        """Whether its last failure was that a process ended."""

    @property
    def died(self) -> str | None:
        """What became of the last holder, if it ended without giving the lease back."""


class Kept(Protocol):
    """A record with its place in the ledger."""

    @property
    def seq(self) -> int:
        """Its place."""

    @property
    def record(self) -> UsageRecord:
        """The record."""


L = TypeVar("L", bound=Lease)


class Cursors(Protocol[L]):
    """What a delivery needs of the plugins' cursors."""

    def lease(
        self, consumer: str, owner: str, seconds: float, *, gone: Callable[[str], bool] = ..., at_once: bool = False
    ) -> L | None:
        """Take the lease; None: another has it, who is not *gone*, or the plugin is to be left alone for now."""

    def advance(self, lease: L, seq: int, in_hand: int | None = None) -> L | None:
        """Move to *seq*, note what is *in_hand* now, and renew; None: the lease was lost."""

    def renew(self, lease: L, in_hand: int | None = None) -> L | None:
        """Renew, and note what is *in_hand* now; None: the lease was lost."""

    def release(self, lease: L, seq: int | None = None) -> bool:
        """Give it back, having moved to *seq* if that is progress; False: it was lost."""

    def fail(self, lease: L, error: str, retry_in: float, *, refused: bool = False) -> None:
        """Give it back and let nobody have it for *retry_in* seconds; *refused*: the next record was."""

    def defer(self, lease: L, retry_in: float) -> None:
        """Give it back and let nobody have it for *retry_in* seconds, for what is counted already."""


class DeadLetters(Protocol[L]):
    """What a delivery needs of the dead letters."""

    def set_aside(self, lease: L, kept: Any, reason: str, tries: int) -> L | None:
        """Set *kept* aside and move the cursor over it; None: the lease was lost."""

    def places(self, consumer: str, after: int, upto: int) -> set[int]:
        """Tell which records with *after* < seq ≤ *upto* are set aside."""


class Ledger(Protocol[L]):
    """What a delivery needs of the ledger."""

    @property
    def cursors(self) -> Cursors[L]:
        """The plugins' places."""

    @property
    def dead_letters(self) -> DeadLetters[L]:
        """What was set aside."""

    def read(self, after: int, limit: int) -> Sequence[Kept]:
        """Give the next records."""

    def last_seq(self) -> int:
        """Tell the place of the newest record."""
