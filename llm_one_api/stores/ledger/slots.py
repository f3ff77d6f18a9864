"""The pieces that time is cut into: quarters and hours of UTC, and days and months of a zone.

Every zone's offset is a whole number of quarters, so a quarter of UTC is a quarter everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.rollup_tables import Level
from llm_one_api.stores.ledger.sums import HOUR, QUARTER, hour_of, quarter_of

Calendric = Literal["day", "month"]
CALENDRIC: tuple[Calendric, ...] = ("day", "month")

_LOOK = timedelta(days=7)
"""No zone has moved its clocks by less than an hour for so short a time."""
_FIRST, _LAST = datetime(1970, 1, 3, tzinfo=UTC), datetime(9998, 12, 1, tzinfo=UTC)


class Stretch(NamedTuple):
    """A stretch of time, and the slots that it consists of."""

    level: Level
    since: datetime
    until: datetime


def hour_from(at: datetime) -> datetime:
    """Give the first hour that begins at *at* or later."""
    return at if hour_of(at) == at else hour_of(at) + HOUR


def quarter_from(at: datetime) -> datetime:
    """Give the first quarter that begins at *at* or later."""
    return at if quarter_of(at) == at else quarter_of(at) + QUARTER


class Quarters(NamedTuple):
    """Of which hours there are sums by quarters."""

    since: datetime | None
    """From then on of all; None: none were deleted."""
    besides: frozenset[datetime] = frozenset()
    """Hours from before of which they were kept, for a day ends in them."""

    def has(self, at: datetime) -> bool:
        """Tell whether they are there of the hour that *at* lies in."""
        return self.since is None or (hour := hour_of(at)) >= self.since or hour in self.besides


def stretches(since: datetime, until: datetime, quarters: Quarters) -> Iterator[Stretch]:
    """Cover a stretch of time: whole hours, and quarters at both ends, or hours where quarters are gone."""
    first, last = hour_from(since), hour_of(until)
    pieces = [(since, first), (first, last), (last, until)] if first <= last else [(since, until)]
    for a, b in pieces:
        if a < b:
            is_whole = first <= last and (a, b) == (first, last)
            yield Stretch("quarter" if not is_whole and quarters.has(a) else "hour", a, b)


def periods(zone: ZoneInfo, level: Calendric, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Give the days or months, in UTC, that hold the time from *since* until before *until*; one at least."""
    at, until = max(since, _FIRST), min(until, _LAST)
    found: list[tuple[datetime, datetime]] = []
    while at < until or not found:
        period = _period(zone, level, at.astimezone(UTC))
        found.append(period)
        at = period[1]
    return found


@lru_cache(maxsize=8192)
def _period(zone: ZoneInfo, level: Calendric, at: datetime) -> tuple[datetime, datetime]:
    window = Calendar(zone).at(level, at.timestamp())
    end = window.start if window.end is None else window.end
    return datetime.fromtimestamp(window.start, UTC), datetime.fromtimestamp(end, UTC)


def local_hour(at: datetime, zone: ZoneInfo) -> datetime:
    """Give the begin, in UTC, of the local hour that *at* lies in. One that comes twice is two.

    Where clocks are moved by less than an hour, what is left over lengthens the hour before.
    """
    return at.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def has_whole_hours(zone: ZoneInfo, since: datetime, until: datetime) -> bool:
    """Tell whether local hours begin where hours of UTC do, from *since* until *until*."""
    at = since
    while True:
        offset = at.astimezone(zone).utcoffset()
        if offset is not None and offset % HOUR:
            return False
        if at >= until:
            return True
        at = min(at + _LOOK, until)
