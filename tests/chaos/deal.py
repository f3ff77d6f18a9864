"""Which faults a seed brings: dealt like cards, so that seeds in a row bring all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos.faults import ALWAYS, DECK, Fault
from tests.chaos.ledgers import LedgerKind

HANDS = 3
"""How many seeds share a deck: 3n, 3n + 1 and 3n + 2 bring each fault once."""


@dataclass(frozen=True)
class Hand:
    """What one run does."""

    seed: int
    faults: tuple[type[Fault], ...]
    """In the order in which they begin, as far as they leave each other alone."""
    ledger: LedgerKind


def deal(seed: int) -> Hand:
    """Tell what the run of *seed* does: always the same."""
    chance = Random(seed // HANDS)
    deck = [fault for fault in DECK if not fault.ledger]
    chance.shuffle(deck)
    hands = [deck[number::HANDS] for number in range(HANDS)]
    # Those that need a certain ledger come together, or there would be hardly any other.
    chance.choice(hands).extend(fault for fault in DECK if fault.ledger)
    return hand(seed, hands[seed % HANDS])


def hand(seed: int, cards: Sequence[type[Fault]]) -> Hand:
    """Bring *cards*, and what every run brings, in the order and on the ledger of *seed*."""
    chance = Random(f"hand {seed}")
    faults = [*ALWAYS, *cards]
    chance.shuffle(faults)
    kinds: list[LedgerKind] = [fault.ledger for fault in faults if fault.ledger]
    return Hand(seed, tuple(faults), kinds[0] if kinds else chance.choice(["sqlite", "sqlite", "postgresql"]))
