"""The days and months that quotas are counted in, in the one time zone, and how windows are named.

A window's name is its scope, its period and its label: `user:alice:day:2026-11-24`, `all:month:2026-11`,
`key:key_3f9a1c22:total:ever`. There is no job that resets anything: the next day has another name.
"""

from __future__ import annotations

import bisect
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from llm_one_api.limits.rules import Period

EVER = "ever"
_MOST_SET_BACK = 3 * 3600
"""Seconds."""


class Window(NamedTuple):
    """A stretch of time, in seconds since 1970. None: without an end."""

    label: str
    start: float
    end: float | None


class Calendar:
    """Tells days and months of one zone, whatever its clocks do."""

    def __init__(self, zone: ZoneInfo) -> None:
        """Use *zone*."""
        self.zone = zone

    def at(self, period: Period, now: float) -> Window:
        """Give the window of *period* that *now* (seconds since 1970) is in."""
        if period == "total":
            return Window(EVER, 0.0, None)
        day = datetime.fromtimestamp(now, self.zone).date()
        # Where clocks are set back over midnight, a day's beginning comes twice; the first one counts.
        for candidate in (day, day + timedelta(days=1), day - timedelta(days=1)):
            window = _window(self.zone, period, candidate)
            if window.start <= now < (window.end or now):
                return window
        raise LookupError(f"no {period} of {self.zone} holds {now}")

    def end_of(self, window: str) -> str | None:
        """Write when a window ends, in the zone, by the window's name; None: never."""
        _, period, label = parts(window)
        end = self.named(period, label).end
        return None if end is None else datetime.fromtimestamp(end, self.zone).isoformat()

    def named(self, period: Period, label: str) -> Window:
        """Give the window by its label. Raises ValueError if it is none."""
        if period == "total":
            if label != EVER:
                raise ValueError(f"not a window: {label}")
            return Window(EVER, 0.0, None)
        window = _window(self.zone, period, date.fromisoformat(label if period == "day" else f"{label}-01"))
        if window.label != label:  # a week's day, say, which is an ISO date too
            raise ValueError(f"not a window: {label}")
        return window


@lru_cache(maxsize=64)
def _window(zone: ZoneInfo, period: Period, day: date) -> Window:
    if period == "day":
        return Window(day.isoformat(), start_of(zone, day), start_of(zone, day + timedelta(days=1)))
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Window(first.isoformat()[:7], start_of(zone, first), start_of(zone, following))


def start_of(zone: ZoneInfo, day: date) -> float:
    """Tell the first second of *day*: where midnight is skipped, the first that there is; where it is twice, the first.

    Found by what the zone says of the time before, for an hour that does not exist has no true offset.
    """

    def date_at(second: int) -> date:
        return datetime.fromtimestamp(second, zone).date()

    guess = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    seconds = range(guess - 26 * 3600, guess + 26 * 3600)
    found = seconds[bisect.bisect_left(seconds, day, key=date_at)]
    # Where a clock was set back at a minute past midnight, the day had begun before.
    for before in range(found - _MOST_SET_BACK, found, 60):
        if date_at(before) >= day:
            return float(before)
    return float(found)


def name(scope: str, period: Period, label: str) -> str:
    """Name a window."""
    return f"{scope}:{period}:{label}"


def parts(window: str) -> tuple[str, Period, str]:
    """Take a window's name apart into scope, period and label. Raises ValueError if it is none."""
    pieces = window.rsplit(":", 2)
    if len(pieces) == 3:  # noqa: PLR2004
        scope, period, label = pieces
        for known in ("day", "month", "total"):
            if period == known:
                return scope, known, label
    raise ValueError(f"not a window: {window}")
