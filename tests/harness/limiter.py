"""The limiter in plain Python: what the scripts of the limit store must do to its counters, and the books beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llm_one_api.limits.charging import Booking, Charge
from llm_one_api.stores.limits.messages import Amount, Counts

ZERO = Amount()


class Hold(NamedTuple):
    """What a call has reserved, and until when."""

    charge: Charge
    until: int


def plus(one: Amount, other: Amount, times: int = 1) -> Amount:
    return Amount(*(a + times * b for a, b in zip(one, other, strict=True)))


def amount(charge: Charge) -> Amount:
    return Amount(charge.tokens, 1, charge.nanos)


def total(charges: Iterable[Charge], window: str) -> Amount:
    """Add up what *charges* charge a window."""
    found = ZERO
    for charge in charges:
        if window in charge.windows:
            found = plus(found, amount(charge))
    return found


class Limiter:
    """Quotas, and places of calls under way, by a clock that only moves when it is told to."""

    def __init__(self, limits: Mapping[str, Amount], places: Mapping[str, int], lease: int) -> None:
        """Limit each window of a period (`user:alice:day`) and each scope."""
        self.limits = limits
        self.place_limits = places
        self.lease = lease
        self.now = 0
        self.slack: dict[str, Amount] = defaultdict(lambda: ZERO)
        """By how much each window may be beyond its limit: what calls under way used beyond what they had reserved."""
        self.empty()

    def empty(self) -> None:
        """Lose everything, as an emptied server does."""
        self.holds: dict[str, Hold] = {}
        self.taken: dict[str, dict[str, int]] = defaultdict(dict)
        self.pending: dict[str, Charge] = {}
        self.booked: dict[str, Amount] = defaultdict(lambda: ZERO)
        self.seen: set[str] = set()
        self.mark = 0
        self.counted: int | None = None

    def counts(self, window: str) -> Counts:
        held = (hold.charge for hold in self.holds.values())
        return Counts(self.booked[window], total(self.pending.values(), window), total(held, window))

    def used(self, window: str) -> Amount:
        booked, pending, held = self.counts(window)
        return plus(plus(booked, pending), held)

    def limit(self, window: str) -> Amount:
        return self.limits[window.rsplit(":", 1)[0]]

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.holds = {call: hold for call, hold in self.holds.items() if hold.until > self.now}
        for calls in self.taken.values():
            for call in [call for call, until in calls.items() if until <= self.now]:
                del calls[call]

    def admit(self, asked: Charge, scopes: Sequence[str], *, allow_unwhole: bool) -> str:
        if self.counted is None and not allow_unwhole:
            return "unwhole"
        if asked.id in self.holds:
            return "admitted"
        for scope in scopes:
            calls = self.taken[scope]
            if len(calls) >= self.place_limits[scope] and asked.id not in calls:
                return "refused"
        wanted = {window: plus(self.used(window), amount(asked)) for window in asked.windows}
        for window, used in wanted.items():
            if self.counted is not None:
                if any(a > b for a, b in zip(used, self.limit(window), strict=True)):
                    return "refused"
                self.slack[window] = ZERO
            else:
                self.slack[window] = plus(self.slack[window], amount(asked))
        self.hold(asked, scopes)
        return "admitted"

    def hold(self, charge: Charge, scopes: Sequence[str]) -> None:
        self.holds[charge.id] = Hold(charge, self.now + self.lease)
        for scope in scopes:
            self.taken[scope][charge.id] = self.now + self.lease

    def renew(self, charge: Charge, scopes: Sequence[str]) -> None:
        for scope in scopes:
            self.taken[scope][charge.id] = self.now + self.lease
        if charge.id not in self.pending and charge.id not in self.seen:
            if charge.id not in self.holds:
                self._allow(charge, ZERO)
            held = self.holds.get(charge.id)
            self.hold(held.charge if held else charge, ())

    def leave(self, call: str, scopes: Sequence[str]) -> None:
        for scope in scopes:
            self.taken[scope].pop(call, None)

    def settle(self, charges: Iterable[tuple[int, Charge]], *, adopted: bool = False) -> None:
        for end, charge in charges:
            if not adopted:
                if end <= self.mark:
                    continue
                self.mark = end
            held = self.holds.pop(charge.id, None)
            if charge.id in self.pending or charge.id in self.seen:
                continue
            self._allow(charge, amount(held.charge) if held else ZERO)
            self.pending[charge.id] = charge
            if adopted:
                self.seen.add(charge.id)

    def _allow(self, charge: Charge, held: Amount) -> None:
        more = Amount(*(max(0, a - b) for a, b in zip(amount(charge), held, strict=True)))
        for window in charge.windows:
            self.slack[window] = plus(self.slack[window], more)

    def book(self, bookings: Iterable[Booking]) -> None:
        for booking in bookings:
            charge = booking.charge
            pending = self.pending.pop(charge.id, None)
            is_first = pending is not None or (booking.new and charge.id not in self.seen)
            if self.counted is not None and booking.seq > self.counted and is_first:
                if pending is None:
                    held = self.holds.get(charge.id)
                    self._allow(charge, amount(held.charge) if held else ZERO)
                for window in charge.windows:
                    self.booked[window] = plus(self.booked[window], amount(charge))
            if pending is None:
                self.holds.pop(charge.id, None)
            if is_first and booking.new is (pending is None):
                self.seen.add(charge.id)

    def recount(self, seq: int, booked: Mapping[str, Amount], in_ledger: Iterable[str]) -> None:
        for call in in_ledger:
            self.pending.pop(call, None)
        for window in {*self.booked, *booked}:
            before, after = self.booked[window], booked.get(window, ZERO)
            self.booked[window] = after
            grown = Amount(*(max(0, b - a) for a, b in zip(before, after, strict=True)))
            self.slack[window] = plus(self.slack[window], grown)
        self.counted = seq
