"""Gives calls in the ledger the cost that their price comes to, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from llm_one_api.stores.ledger.prices import Change
from llm_one_api.stores.ledger.rows import Kept
from llm_one_api.values import UsageRecord

_PAGE = 500

Price = Callable[[UsageRecord], UsageRecord]
"""Put its cost on a record that has none, or give it as it is."""


class Prices(Protocol):
    """What repricing needs from the ledger."""

    def page(self, since: datetime, until: datetime, *, after: Kept | None, limit: int, priced: bool) -> list[Kept]:
        """Give the next calls whose usage is known."""

    def change(self, changes: Sequence[Change]) -> set[int]:
        """Make changes in one transaction, and tell whose were made."""


class Sums(msgspec.Struct):
    """What became of some calls."""

    calls: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)


class Repriced(msgspec.Struct):
    """What became of all."""

    priced: Sums = msgspec.field(default_factory=Sums)
    """Had no cost, and have one now."""
    changed: dict[str, Sums] = msgspec.field(default_factory=dict)
    """Had another, by model."""
    kept: int = 0
    """Have the cost that they had, for it is the same, or nobody knows another."""
    unpriced: int = 0
    """Have none still."""
    overtaken: int = 0
    """Were changed by somebody else meanwhile, and left alone."""


def reprice(
    prices: Prices,
    price: Price,
    since: datetime,
    until: datetime,
    *,
    priced: bool = False,
    dry_run: bool = False,
    page: int = _PAGE,
) -> Repriced:
    """Put its cost on each call admitted from *since* until before *until* that has none; with *priced*, on all.

    A call that has a cost keeps it where no other is known. With *dry_run* nothing is written. Each page is a
    transaction of its own: what it did stays, whatever becomes of the next, and a second run finds nothing left to do.
    """
    done = Repriced()
    last: Kept | None = None
    while kept := prices.page(since, until, after=last, limit=page, priced=priced):
        changes = {each.seq: change for each in kept if (change := _change(each, price)) is not None}
        made = set(changes) if dry_run else prices.change(list(changes.values()))
        for each in kept:
            _count(done, each.record, changes.get(each.seq), made)
        last = kept[-1]
    return done


def _change(kept: Kept, price: Price) -> Change | None:
    """Tell what becomes of a call; None: it stays as it is."""
    old = kept.record
    new = price(msgspec.structs.replace(old, cost=None, price_source=None, price_date=None))
    same = (old.cost, old.price_source, old.price_date) == (new.cost, new.price_source, new.price_date)
    if new.cost is None or new.price_source is None or same:
        return None
    return Change(
        seq=kept.seq, before=old.cost, cost=new.cost, price_source=new.price_source, price_date=new.price_date
    )


def _count(done: Repriced, old: UsageRecord, change: Change | None, made: AbstractSet[int]) -> None:
    if change is None:
        done.kept += old.cost is not None
        done.unpriced += old.cost is None
    elif change.seq not in made:
        done.overtaken += 1
    else:
        sums = done.priced if old.cost is None else done.changed.setdefault(old.model, Sums())
        sums.calls += 1
        sums.before += old.cost or 0
        sums.after += change.cost
