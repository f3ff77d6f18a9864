"""A limit store in memory, for tests of who settles: what is charged, how often, and what is known of segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llm_one_api.limits.charging import Charge


class Charged:
    """Takes charges as the scripts of the real one do (`scripts/settle.lua`), and counts what it is asked."""

    def __init__(self) -> None:
        """Begin whole and empty."""
        self.epoch: str | None = "first"
        self.away = False
        self.asked = 0
        self.order: list[str] = []
        """Whose calls were charged, in order, however often the counters were lost."""
        self.forget()

    def forget(self, epoch: str | None = None) -> None:
        """Lose everything, as a server without its data does. The counters are not whole then, or have an *epoch*."""
        self.pending: dict[str, Charge] = {}
        self.times: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.marks: dict[str, int] = {}
        if self.asked or epoch:
            self.epoch = epoch

    def book(self) -> None:
        """Take note that all that is pending is in the ledger."""
        self.pending.clear()

    def settle(
        self,
        segment: str,
        charges: Sequence[tuple[int, Charge]],
        *,
        adopted: bool = False,
        freed: Sequence[str] = (),
    ) -> str | None:
        """Charge each call once."""
        self.asked += 1
        if self.away:
            raise ConnectionError
        mark = self.marks.get(segment, 0)
        assert list(charges) == sorted(charges, key=lambda pair: pair[0]) or adopted
        for end, charge in charges:
            if (adopted or end > mark) and charge.id not in self.pending and charge.id not in self.seen:
                self.pending[charge.id] = charge
                self.times[charge.id] += 1
                self.order.append(charge.id)
                if adopted:
                    self.seen.add(charge.id)
        if charges and not adopted:
            self.marks[segment] = max(mark, charges[-1][0])
        for name in freed:
            self.marks.pop(name, None)
        return self.epoch
