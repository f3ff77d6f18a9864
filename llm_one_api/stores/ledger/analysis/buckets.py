"""Where local quarters, hours, days and months begin.

Every zone's offset is a whole number of quarters, so a quarter of UTC is a quarter everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.analysis.questions import Bucket
from llm_one_api.stores.ledger.sums import hour_of, quarter_of

_FIRST, _LAST = datetime(1970, 1, 3, tzinfo=UTC), datetime(9998, 12, 1, tzinfo=UTC)


class Edges:
    """The buckets that hold the time from *since* until before *until*."""

    def __init__(self, bucket: Bucket | None, zone: ZoneInfo, since: datetime, until: datetime) -> None:
        """Find where they begin, as far as that takes a calendar."""
        self._bucket = bucket
        self._zone = zone
        self._known: dict[datetime, datetime] = {}
        self._begins = days(zone, since, until, bucket) if bucket in {"day", "month"} else []

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


def local_hour(at: datetime, zone: ZoneInfo) -> datetime:
    """Give the begin, in UTC, of the local hour that *at* lies in. One that comes twice is two.

    Where clocks are moved by less than an hour, what is left over lengthens the hour before.
    """
    local = at.astimezone(zone)
    return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def days(zone: ZoneInfo, since: datetime, until: datetime, bucket: Bucket | None = "day") -> list[datetime]:
    """Give where the days (or months) begin, in UTC, that hold the time from *since* until before *until*."""
    since, until = max(since, _FIRST), min(until, _LAST)
    begins: list[datetime] = []
    at = since
    while at < until or not begins:
        start, at = _period(zone, bucket == "month", at.astimezone(UTC))
        begins.append(start)
    return begins


@lru_cache(maxsize=4096)
def _period(zone: ZoneInfo, is_month: bool, at: datetime) -> tuple[datetime, datetime]:
    """Give the day or month that *at* lies in, in UTC."""
    window = Calendar(zone).at("month" if is_month else "day", at.timestamp())
    end = window.end or window.start
    return datetime.fromtimestamp(window.start, UTC), datetime.fromtimestamp(end, UTC)


def has_whole_hours(zone: ZoneInfo, since: datetime, until: datetime) -> bool:
    """Tell whether local hours begin where hours of UTC do, all the time."""
    at, step = hour_of(since), timedelta(hours=1)
    if until - since > timedelta(days=3):
        step = timedelta(days=1)
    minutes = {
        (each.astimezone(zone).utcoffset() or timedelta()) % timedelta(hours=1) for each in _steps(at, until, step)
    }
    return minutes == {timedelta()}


def _steps(at: datetime, until: datetime, step: timedelta) -> list[datetime]:
    found = [at]
    while found[-1] < until:
        found.append(found[-1] + step)
    return found
