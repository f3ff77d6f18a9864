"""What Redis counts as booked is what the ledger has, whatever happened to either: on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.quotas import booking
from llm_one_api.books.quotas.booking import Booker
from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.limits.charging import Booking
from llm_one_api.limits.rules import Amounts, Kind, LimitSet, Rules
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Amount, Boost
from tests.harness.charges import DAY, MONTH, TOTAL, WINDOWS, booked, charged, check_of, pending, settle, times
from tests.harness.records import AT, record


@pytest.fixture
def store(redis_url: str) -> Iterator[LimitStore]:
    it = LimitStore(redis_url, "check:", timeout=5.0)
    yield it
    it.close()


def take_in(ledger: Ledger, store: LimitStore, *numbers: int) -> None:
    """Do all that is done for some calls when nothing fails."""
    calls = [charged(number) for number in numbers]
    settle(store, *calls, at=min(numbers) * 100)
    store.book(ledger.ingest(calls).bookings)


def test_what_is_booked_after_an_ingest_agrees(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    take_in(ledger, store, 1, 2)
    take_in(ledger, store, 3)

    with capture_logs() as logs:
        found = check_of(ledger, store).run()

    assert found.agrees
    assert found.compared == len(WINDOWS)
    assert logs == []
    assert booked(store) == dict.fromkeys(WINDOWS, times(3))
    assert pending(store) == set()


def test_counters_that_are_new_or_lost_are_counted_from_the_ledger(
    ledger: Ledger, store: LimitStore, redis_url: str
) -> None:
    take_in(ledger, store, 1)  # nobody has counted yet: nothing is booked
    first = check_of(ledger, store).run()
    take_in(ledger, store, 2)
    before = booked(store)
    with LimitStore(redis_url, "check:")._client.redis as client:
        client.flushall()
    take_in(ledger, store, 3)

    with capture_logs() as logs:
        again = check_of(ledger, store).run()

    assert (first.trouble, again.trouble) == ("lost", "lost")
    assert [(event["event"], event["reason"]) for event in logs] == [("quota.rebuilt", "lost")]
    assert before == dict.fromkeys(WINDOWS, times(2))
    assert booked(store) == dict.fromkeys(WINDOWS, times(3))
    assert pending(store) == set()
    assert check_of(ledger, store).run().agrees


def test_a_booking_that_was_lost_is_made_up_for(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    settle(store, charged(1), charged(2))
    ledger.ingest([charged(1), charged(2), charged(3)])

    with capture_logs() as logs:
        check_of(ledger, store).run()

    assert booked(store) == dict.fromkeys(WINDOWS, times(3))
    assert pending(store) == set()
    assert [event["event"] for event in logs] == ["quota.corrected"]
    assert logs[0]["pending"] == 2
    assert logs[0]["off_by"][DAY] == [-510, -3, -945_000]


def test_what_is_pending_and_not_in_the_ledger_stays(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    settle(store, charged(1), charged(2))
    ledger.ingest([charged(1)])

    check_of(ledger, store).run()
    left = pending(store)
    store.book(ledger.ingest([charged(2)]).bookings)

    assert left == {charged(2).request_id}
    assert pending(store) == set()
    assert booked(store) == dict.fromkeys(WINDOWS, times(2))


def test_a_counter_that_was_changed_or_deleted_is_put_right(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    take_in(ledger, store, 1)
    client = store._client.redis
    client.hincrby(f"check:limits:w:{DAY}", "bt", 7)
    client.delete(f"check:limits:w:{TOTAL}")
    client.hset("check:limits:w:user:bob:day:2025-11-12", "bt", 9)

    found = check_of(ledger, store).run()

    assert set(found.windows) == {DAY, TOTAL, "user:bob:day:2025-11-12"}
    assert booked(store) == dict.fromkeys(WINDOWS, times(1))
    assert store.windows(["user:bob:day:2025-11-12"])["user:bob:day:2025-11-12"].booked == Amount()


def test_a_ledger_that_was_restored_from_a_backup_is_what_counts(ledger: Ledger, store: LimitStore) -> None:
    take_in(ledger, store, 1, 2, 3)
    check_of(ledger, store).run()
    with ledger._engine.begin() as connection:
        for table in ("records", "quota_sums"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql("UPDATE ledger_seq SET n = 0")

    found = check_of(ledger, store).run()
    take_in(ledger, store, 4)

    assert found.trouble == "ledger_behind"
    assert booked(store) == dict.fromkeys(WINDOWS, times(1))


def test_what_is_booked_between_two_looks_is_no_difference(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    late = ledger.ingest([charged(1)]).bookings
    waited: list[float] = []

    def go_on(seconds: float) -> None:
        waited.append(seconds)
        store.book(late)
        take_in(ledger, store, 2)
        store.book(ledger.ingest([charged(3)]).bookings)

    with capture_logs() as logs:
        found = check_of(ledger, store, wait=go_on).run()

    assert found.agrees
    assert logs == []
    assert len(waited) == 1


def test_two_checks_at_once_do_it_once(ledger: Ledger, url: str, store: LimitStore, redis_url: str) -> None:
    ledger.ingest([charged(1)])
    other = Ledger(url)
    with capture_logs() as logs:
        with ledger.quotas.at_rest() as rest:
            second = threading.Thread(target=check_of(other, LimitStore(redis_url, "check:", timeout=5.0)).run)
            second.start()
            standing = rest.standing({"total:ever"}, WINDOWS)
            store.recount(standing.seq, standing.booked)
        second.join(20)
        third = check_of(ledger, store).run()
    other.close()

    assert third.agrees
    assert booked(store) == dict.fromkeys(WINDOWS, times(1))
    assert [event["event"] for event in logs if event["event"] == "quota.corrected"] == []


def test_a_reset_and_a_boost_reach_the_store(ledger: Ledger, store: LimitStore) -> None:
    check_of(ledger, store).run()
    take_in(ledger, store, 1, 2)

    off = ledger.quotas.reset(DAY, "by hand", ["tokens", "cost"])
    ledger.quotas.boost("user:alice", "day", "tokens", 500, AT)
    check_of(ledger, store).run()
    take_in(ledger, store, 3)

    assert off == Amount(340, 0, 630_000)
    assert booked(store) == {DAY: Amount(170, 3, 315_000), MONTH: times(3), TOTAL: times(3)}
    assert store.boosts() == {"user:alice:day:tokens": Boost(500, int(AT.timestamp() * 1000))}
    assert [(each.window, each.amount, each.reason) for each in ledger.quotas.resets()] == [(DAY, off, "by hand")]
    assert check_of(ledger, store).run().agrees


def test_a_boost_that_is_ended_is_gone_everywhere(ledger: Ledger, store: LimitStore) -> None:
    ledger.quotas.boost("all", "total", "cost", 5, AT)
    ledger.quotas.boost("all", "total", "cost", 7, AT)
    check_of(ledger, store).run()
    there = store.boosts()

    ended = [ledger.quotas.end_boost("all", "total", "cost") for _ in range(2)]
    check_of(ledger, store).run()

    assert [boost.amount for boost in there.values()] == [7]
    assert ended == [True, False]
    assert store.boosts() == {}
    assert ledger.quotas.boosts() == []


def test_most_and_all_of_a_limit_used_is_said_once_each(ledger: Ledger, store: LimitStore) -> None:
    sets: dict[Kind, LimitSet] = {
        "user": LimitSet(day=Amounts(tokens=200, requests=100), month=Amounts(cost=Decimal("0.0005"))),
        "all": LimitSet(total=Amounts(requests=2)),
    }
    check = check_of(ledger, store, Rules(each=sets))
    ledger.ingest([charged(1)])

    with capture_logs() as first:
        check.announce()
    ledger.ingest([charged(2)])
    with capture_logs() as second:
        check.announce()
        check_of(ledger, store, Rules(each=sets)).announce()

    said = [(event["window"], event["unit"], event["percent"], event["used"], event["limit"]) for event in first]
    assert said == [(DAY, "tokens", 80, "170", "200")]
    assert sorted((event["window"], event["unit"], event["percent"]) for event in second) == [
        (TOTAL, "requests", 80),
        (TOTAL, "requests", 100),
        (DAY, "tokens", 100),
        (MONTH, "cost", 80),
        (MONTH, "cost", 100),
    ]
    assert {event["used"] for event in second if event["unit"] == "cost"} == {"0.00063"}


def test_what_is_used_up_in_the_last_moments_of_a_day_is_said_on_the_next(ledger: Ledger, store: LimitStore) -> None:
    midnight = AT.replace(day=13, hour=0, minute=0, second=0, microsecond=0).timestamp()
    rules = Rules(each={"user": LimitSet(day=Amounts(tokens=170))})
    ledger.ingest([charged(1)])

    said: list[list[int]] = []
    for now in (midnight + 30, midnight + 90, midnight + 7200):
        check = QuotaCheck(ledger.quotas, store, rules, ZoneInfo("UTC"), clock=lambda now=now: now)  # type: ignore[misc]
        with capture_logs() as logs:
            check.announce()
        said.append([event["percent"] for event in logs if event["window"] == DAY])

    assert said == [[80, 100], [], []]


def test_what_is_added_to_a_limit_counts_and_who_is_exempt_is_not_named(ledger: Ledger, store: LimitStore) -> None:
    rules = Rules(each={"user": LimitSet(day=Amounts(tokens=200))})
    exempt = Rules(each=rules.each, exempt_users=frozenset({"alice"}))
    ledger.ingest([charged(1)])
    ledger.quotas.boost("user:alice", "day", "tokens", 100, AT.replace(year=2026))

    with capture_logs() as logs:
        check_of(ledger, store, rules).announce()
        ledger.quotas.end_boost("user:alice", "day", "tokens")
        check_of(ledger, store, exempt).announce()

    assert logs == []


def test_windows_of_long_ago_are_left_alone(ledger: Ledger, store: LimitStore) -> None:
    old = "user:alice:day:2025-10-01"
    check_of(ledger, store).run()
    store.book(ledger.ingest([charged(1, quota_windows=(old,))]).bookings)
    store._client.redis.hset(f"check:limits:w:{old}", "bt", 1)

    agrees = check_of(ledger, store).run().agrees
    store._client.redis.delete("check:limits:state")
    check_of(ledger, store).run()

    assert agrees
    # Of these there may be a hundred thousand: whoever looks at them keeps the ledger from growing for half a minute.
    assert store.windows([old])[old].booked == Amount(1, 1, 315_000)


class Broken:
    """A limit store that is away, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = True

    def book(self, _bookings: object) -> None:
        self.asked += 1
        if self.is_away:
            raise ConnectionError


def test_a_store_that_is_away_is_asked_now_and_then_and_said_once(ledger: Ledger) -> None:
    broken, clock = Broken(), [0.0]
    book = Booker(broken, clock=lambda: clock[0])
    bookings: tuple[Booking, ...] = ledger.ingest([charged(1), record(2)]).bookings

    with capture_logs() as logs:
        for clock[0] in (0.0, 1.0, booking.PAUSE - 1, booking.PAUSE + 1, booking.PAUSE + 2):
            book(bookings)
    broken.is_away = False
    for clock[0] in (100.0, 101.0):
        book(bookings)

    assert broken.asked == 4
    assert [(event["event"], event["kind"], event["calls"]) for event in logs] == [
        ("quota.booking_failed", "ConnectionError", 1)
    ]
