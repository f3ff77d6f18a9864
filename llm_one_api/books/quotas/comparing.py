"""What the limit store says is booked, beside what the ledger does: of the windows that still matter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.quotas import Quotas, Standing, span_of
from llm_one_api.stores.limits.messages import Amount, Boost, Counts, Pending, State

DAY = 86400
_DAYS_BACK, _DAYS_AHEAD = 2, 1
GRACE = 1.0
"""Seconds in which what was committed is booked: a worker does so at once."""
_NOTHING = Amount()

Trouble = Literal["lost", "restarted", "ledger_behind"]
"""`lost`: they are not whole. `restarted`: another run of the server has them. `ledger_behind`: it had more before."""


class Store(Protocol):
    """What comparing needs of the limit store."""

    def windows(self, names: Sequence[str]) -> Mapping[str, Counts]:
        """Tell what windows hold."""

    def all_windows(self) -> list[str]:
        """Name all windows that there are."""

    def pending(self) -> Iterator[Mapping[str, Pending]]:
        """Give the calls that are settled and not booked, by id, in pages."""

    def state(self) -> State | None:
        """Tell about the counters; None: they are not whole."""

    def run_id(self) -> str:
        """Name the present run of the server."""

    def boosts(self) -> Mapping[str, Boost]:
        """Give the boosts by `{scope}:{period}:{unit}`."""


@dataclass(slots=True)
class Comparison:
    """Where the two sides differ."""

    trouble: Trouble | None = None
    windows: dict[str, tuple[Amount, Amount]] = field(default_factory=dict)
    """What the limit store and the ledger say is booked."""
    pending: set[str] = field(default_factory=set)
    """Calls that are pending in the store though the ledger has them."""
    boosts: bool = False
    names: Collection[str] = ()
    """The windows that were looked at."""

    @property
    def compared(self) -> int:
        """Count the windows."""
        return len(self.names)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not (self.trouble or self.windows or self.pending or self.boosts)


def spans_that_matter(calendar: Calendar, now: float) -> set[str]:
    """Name the days and months that calls may be charged to about *now* (seconds since 1970), without their scopes.

    A call is charged where it was admitted, so days go on growing for a while after their end. What was used of those
    before is of no consequence any more.
    """
    moments = [now + days * DAY for days in range(-_DAYS_BACK, _DAYS_AHEAD + 1)]
    spans = {f"{period}:{calendar.at(period, at).label}" for period in ("day", "month") for at in moments}
    return {*spans, f"total:{calendar.at('total', now).label}"}


def compare(quotas: Quotas, store: Store, spans: Collection[str], wait: Callable[[float], None]) -> Comparison:
    """Tell what differs, and goes on to when what is under way has been booked; raises what the two raise.

    Bookings go on meanwhile. Where something differs at the first look, there is a second: by then all is booked that
    was committed at the first, and nothing that was not at the end of the second.
    """
    first = quotas.standing(spans)
    found = differences(store, spans, first, quotas.in_ledger)
    if found.agrees or found.trouble:
        return found
    wait(GRACE)
    second = differences(store, spans, first, quotas.in_ledger)
    last = quotas.standing(spans)
    second.windows = {
        window: (booked, last.booked.get(window, _NOTHING))
        for window, (booked, before) in second.windows.items()
        if not _between(before, booked, last.booked.get(window, _NOTHING))
    }
    second.pending &= found.pending
    second.boosts = second.boosts and last.boosts != store.boosts()
    return second


def differences(
    store: Store, spans: Collection[str], standing: Standing, in_ledger: Callable[[Collection[str]], set[str]]
) -> Comparison:
    """Tell where the store, as it is just now, differs from what the ledger says."""
    found = Comparison(trouble=_trouble(store, standing))
    found.names = names = {*standing.booked, *(window for window in store.all_windows() if span_of(window) in spans)}
    for window, counts in store.windows(sorted(names)).items():
        expected = standing.booked.get(window, _NOTHING)
        if counts.booked != expected:
            found.windows[window] = (counts.booked, expected)
    for page in store.pending():
        if page:
            found.pending |= in_ledger(page.keys())
    found.boosts = store.boosts() != standing.boosts
    return found


def _trouble(store: Store, standing: Standing) -> Trouble | None:
    state = store.state()
    if state is None:
        return "lost"
    if state.run_id != store.run_id():
        return "restarted"
    return "ledger_behind" if state.seq > standing.seq else None


def _between(least: Amount, amount: Amount, most: Amount) -> bool:
    return all(a <= b <= c for a, b, c in zip(least, amount, most, strict=True))
