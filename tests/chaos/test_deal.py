"""A seed always brings the same faults, and seeds in a row bring all of them."""

from __future__ import annotations

from collections import Counter

from tests.chaos.deal import HANDS, deal
from tests.chaos.faults import ALWAYS, DECK


def test_a_seed_brings_the_same_again() -> None:
    assert [deal(seed) for seed in range(20)] == [deal(seed) for seed in range(20)]
    assert len({deal(seed).faults for seed in range(20)}) == 20


def test_all_seeds_of_a_deck_bring_each_fault_once() -> None:
    for first in range(0, 30, HANDS):
        dealt = Counter(fault for seed in range(first, first + HANDS) for fault in deal(seed).faults)

        assert dealt == {**dict.fromkeys(DECK, 1), **dict.fromkeys(ALWAYS, HANDS)}


def test_any_few_seeds_in_a_row_bring_all_faults() -> None:
    for first in range(20):
        assert {fault for seed in range(first, first + 2 * HANDS - 1) for fault in deal(seed).faults} == {
            *ALWAYS,
            *DECK,
        }


def test_every_fault_finds_the_ledger_that_it_needs() -> None:
    for seed in range(60):
        hand = deal(seed)

        assert all(fault.ledger in {None, hand.ledger} for fault in hand.faults)
    assert {deal(seed).ledger for seed in range(20)} == {"sqlite", "postgresql"}


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in (*ALWAYS, *DECK)]

    assert len(set(names)) == len(names)


def test_no_fault_keeps_another_from_ever_being_made() -> None:
    for fault in (*ALWAYS, *DECK):
        assert fault.breaks.isdisjoint(fault.needs), fault.name
