"""Days are closed as far as the time goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from llm_one_api.books.closing import LATE_RECORDS, RUN_FOR, close_periods
from llm_one_api.stores.ledger.closing import Period

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Shelf:
    """Closes days in a second each; a month never, for want of a day."""

    now: float = 0.0
    days: int = 100
    until: datetime | None = None
    paused: list[float] = field(default_factory=list)

    def due(self, zone: ZoneInfo, until: datetime) -> list[Period]:
        assert zone is ZONE
        self.until = until
        days = [Period("day", NOW - number * DAY, NOW - (number - 1) * DAY) for number in range(1, self.days + 1)]
        return [*days, Period("month", NOW - 100 * DAY, NOW)]

    def close(self, period: Period) -> bool:
        self.now += 1
        return period.level == "day"

    def clock(self) -> float:
        return self.now


def test_a_run_has_its_time_and_goes_on_in_the_next_one() -> None:
    shelf = Shelf()

    done = close_periods(shelf, ZONE, NOW, clock=shelf.clock, sleep=shelf.paused.append)

    assert (done.result, done.more) == ({"days": int(RUN_FOR), "months": 0}, True)
    assert shelf.until == NOW - LATE_RECORDS


def test_ingests_have_as_long_a_time_as_they_had_to_wait() -> None:
    shelf = Shelf()

    close_periods(shelf, ZONE, NOW, clock=shelf.clock, sleep=shelf.paused.append)

    assert shelf.paused == [1.0] * int(RUN_FOR)


def test_what_cannot_be_closed_yet_waits_for_the_next_hour() -> None:
    shelf = Shelf(days=0)

    done = close_periods(shelf, ZONE, NOW, clock=shelf.clock, sleep=shelf.paused.append)

    assert (done.result, done.more, done.ok) == ({"days": 0, "months": 0}, False, True)
