"""Where what was found in a slot counts: in the bucket of local time that the slot lies in, or where its part says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from llm_one_api.stores.ledger.analysis.plan import Part, Place
from llm_one_api.stores.ledger.analysis.questions import Bucket
from llm_one_api.stores.ledger.slots import local_hour
from llm_one_api.stores.ledger.sums import quarter_of

Places = Callable[[datetime | None], Sequence[Place]]
"""Tells where what is told of a slot counts; None: of all slots of a part."""


class Buckets:
    """Quarters and hours of local time; longer buckets are made of parts that say themselves where they count."""

    def __init__(self, bucket: Bucket | None, zone: ZoneInfo) -> None:
        """Look up none."""
        self._bucket = bucket
        self._zone = zone
        self._known: dict[datetime | None, Sequence[Place]] = {}

    def places(self, part: Part) -> Places:
        """Make what tells where the slots of *part* count."""
        return self._lying_in if part.places is None else part.places.__getitem__

    def _lying_in(self, slot: datetime | None) -> Sequence[Place]:
        found = self._known.get(slot)
        if found is None:
            found = self._known[slot] = ((self._begin_of(slot), 1),)
        return found

    def _begin_of(self, slot: datetime | None) -> datetime | None:
        if slot is None:
            return None
        return quarter_of(slot) if self._bucket == "15m" else local_hour(slot, self._zone)
