"""Which bucket of local time a slot belongs to."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from zoneinfo import ZoneInfo

from llm_one_api.stores.ledger.analysis.questions import Bucket
from llm_one_api.stores.ledger.slots import local_hour, periods
from llm_one_api.stores.ledger.sums import quarter_of


class Edges:
    """The buckets that hold the time from *since* until before *until*."""

    def __init__(self, bucket: Bucket | None, zone: ZoneInfo, since: datetime, until: datetime) -> None:
        """Find where they begin, as far as that takes a calendar."""
        self._bucket = bucket
        self._zone = zone
        self._known: dict[datetime, datetime] = {}
        self._begins: list[datetime] = []
        if bucket in {"day", "month"}:
            self._begins = [begin for begin, _ in periods(zone, bucket, since, until)]

    def begin_of(self, slot: datetime) -> datetime | None:
        """Give the begin, in UTC, of the bucket that *slot* lies in; None: there are no buckets."""
        if self._bucket is None:
            return None
        found = self._known.get(slot)
        if found is None:
            found = self._known[slot] = self._begin_of(slot)
        return found

    def _begin_of(self, slot: datetime) -> datetime:
        if self._bucket == "15m":
            return quarter_of(slot)
        if self._bucket == "hour":
            return local_hour(slot, self._zone)
        return self._begins[bisect_right(self._begins, slot) - 1]
