"""The quota check: what Redis counts as booked is what the ledger has, or it is put right. Any number may run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.books.quotas import comparing
from llm_one_api.books.quotas.comparing import Comparison, compare, differences, spans_that_matter
from llm_one_api.books.quotas.crossings import crossed
from llm_one_api.limits.rules import Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.quotas import Quotas
from llm_one_api.stores.limits.messages import Amount, Boost

log = structlog.get_logger()

_SHOWN = 5


class Store(comparing.Store, Protocol):
    """What the check needs of the limit store."""

    def recount(
        self,
        seq: int,
        booked: Mapping[str, Amount],
        *,
        among: Collection[str] | None = None,
        in_ledger: Collection[str] = (),
        boosts: Mapping[str, Boost] | None = None,
    ) -> str:
        """Set what is booked to what the ledger says up to record *seq*; gives the counters' epoch."""


class QuotaCheck:
    """Compares, corrects, announces."""

    def __init__(
        self,
        quotas: Quotas,
        store: Store,
        rules: Rules,
        zone: ZoneInfo,
        *,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compare *store* with the ledger's *quotas*."""
        self._quotas = quotas
        self._store = store
        self._rules = rules
        self._calendar = Calendar(zone)
        self._wait = wait
        self._clock = clock

    def run(self) -> Comparison:
        """Announce what is used up, then reconcile. Raises what the ledger raises, and what the store does."""
        self.announce()
        return self.reconcile()

    def announce(self) -> None:
        """Say of which limits most, or all, is used, once each. Needs the ledger alone."""
        for each in crossed(self._quotas, self._rules, self._calendar, self._clock()):
            one = each.crossing
            log.warning(
                "quota.crossed",
                window=one.window,
                unit=one.unit,
                percent=one.percent,
                used=each.used,
                limit=each.limit,
            )

    def reconcile(self) -> Comparison:
        """Put the store right where it says what the ledger does not; gives what was put right.

        What differs is looked at again while the ledger keeps still, so that two who do this do it once. That looks at
        the windows that still matter alone: of those before there may be a hundred thousand.
        """
        spans = spans_that_matter(self._calendar, self._clock())
        found = compare(self._quotas, self._store, spans, self._wait)
        if found.agrees:
            return found
        with self._quotas.at_rest() as rest:
            standing = rest.standing(spans)
            exact = differences(self._store, spans, standing, rest.in_ledger)
            pending = exact.pending
            if not exact.trouble:  # what else differs now is only on its way to be booked
                exact.windows = {
                    window: exact.windows[window] for window in exact.windows.keys() & found.windows.keys()
                }
                exact.pending = pending & found.pending
            if not exact.agrees:
                self._store.recount(
                    standing.seq, standing.booked, among=exact.names, in_ledger=pending, boosts=standing.boosts
                )
        _say(exact, has_used=bool(standing.booked))
        return exact


def _say(put_right: Comparison, *, has_used: bool) -> None:
    if put_right.agrees:
        return
    what = {"windows": len(put_right.windows), "pending": len(put_right.pending), "off_by": _off_by(put_right)}
    if put_right.trouble is None:
        log.warning("quota.corrected", boosts=put_right.boosts, **what)
    elif has_used:
        log.warning("quota.rebuilt", reason=put_right.trouble, **what)
    else:
        log.info("quota.counting", reason=put_right.trouble)


def _off_by(put_right: Comparison) -> dict[str, list[int]]:
    """Tell by how much the first few windows were off: tokens, requests, 1e-9 USD."""
    some = sorted(put_right.windows.items())[:_SHOWN]
    return {
        window: [said - is_so for said, is_so in zip(store, ledger, strict=True)] for window, (store, ledger) in some
    }
