"""What quotas are charged grows with the records that are new, in their transaction, and with nothing else."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_one_api.limits.charging import Booking, charge_of
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits.messages import Amount
from llm_one_api.values import UsageRecord
from tests.harness.charges import DAY, MONTH, TOTAL, WINDOWS, charged, times
from tests.harness.records import record


def booking(call: UsageRecord, seq: int, *, new: bool) -> Booking:
    charge = charge_of(call)
    assert charge is not None
    return Booking(charge=charge, seq=seq, new=new)


def test_each_window_grows_by_each_new_call_that_names_it(ledger: Ledger) -> None:
    free = charged(3, quota_windows=(DAY,), quota_tokens=0, quota_cost=None)

    done = ledger.ingest([charged(1), record(2), free])

    assert ledger.quotas.booked([*WINDOWS, "all:total:never"]) == {
        DAY: Amount(170, 2, 315_000),
        MONTH: times(1),
        TOTAL: times(1),
        "all:total:never": Amount(),
    }
    assert done.bookings == (booking(charged(1), 1, new=True), booking(free, 3, new=True))


def test_a_call_that_comes_again_is_charged_once_and_its_place_is_told(ledger: Ledger) -> None:
    ledger.ingest([record(1), charged(2)])

    done = ledger.ingest([charged(2), charged(3), charged(3), record(1)])

    assert ledger.quotas.booked([DAY]) == {DAY: times(2)}
    assert done.bookings == (booking(charged(3), 3, new=True), booking(charged(2), 2, new=False))


def test_a_refused_call_is_charged_when_it_is_taken_in_at_last(ledger: Ledger) -> None:
    good = charged(2)
    done = ledger.ingest([charged(1, status=-1), good, record(3, quota_tokens=2**63)])
    before = ledger.quotas.booked([DAY])
    [letter, _] = ledger.dead_letters.list("ledger")
    mended = msgspec.structs.replace(letter, line=letter.line.replace('"status":-1', '"status":200'))

    replayed = ledger.dead_letters.ingest(mended)

    assert (done.new, done.refused) == (1, 2)
    assert done.bookings == (booking(good, 1, new=True),)
    assert before == {DAY: times(1)}
    assert replayed.bookings == (booking(charged(1), 2, new=True),)
    assert ledger.quotas.booked([DAY]) == {DAY: times(2)}


def test_what_cannot_be_added_up_is_refused_alone(ledger: Ledger) -> None:
    count, cost = "quota_tokens is no count", "quota_cost is no amount"
    none, long = "quota_windows names what is no window", "quota_windows names a window that is too long"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"quota_tokens": 2**48 + 1}, count),
        ({"quota_tokens": -1}, count),
        ({"quota_cost": Decimal("1e10")}, cost),
        ({"quota_windows": ("user:alice",)}, none),
        ({"quota_windows": (DAY, "user:" + "é" * 1300 + ":day:2025-11-12")}, long),
        ({"quota_windows": ("all:day:" + "1" * 40,)}, long),
    ]
    calls = [charged(number, **changes) for number, (changes, _) in enumerate(wrong, 1)]

    done = ledger.ingest([*calls, charged(99)])

    assert (done.new, done.refused) == (1, len(wrong))
    assert [ledger.dead_letters.refusal(call.request_id) for call in calls] == [why for _, why in wrong]
    assert ledger.quotas.booked([DAY]) == {DAY: times(1)}


def test_the_longest_names_of_windows_are_kept(ledger: Ledger) -> None:
    long = "user:" + "é" * 1239 + ":day:2025-11-12"

    done = ledger.ingest([charged(1, quota_windows=(long,), quota_tokens=2**48, quota_cost=Decimal(10**6))])

    assert (done.new, len(long.encode())) == (1, 2498)
    assert ledger.quotas.booked([long]) == {long: Amount(2**48, 1, 10**15)}


def test_nothing_is_charged_where_the_transaction_fails(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE quota_sums RENAME TO away")

    with pytest.raises(Exception, match="quota_sums"):
        ledger.ingest([charged(1)])
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO quota_sums")

    assert ledger.last_seq() == 0
    assert ledger.ingest([charged(1)]).new == 1
    assert ledger.quotas.booked([DAY]) == {DAY: times(1)}


def test_what_is_read_back_is_what_was_kept(ledger: Ledger) -> None:
    ledger.ingest([charged(1, quota_windows=("user:\x00é:day:2025-11-12",)), charged(2)])

    kept = [each.record.quota_windows for each in ledger.read(0, 10)]

    assert kept == [("user:\x00é:day:2025-11-12",), WINDOWS]
    assert ledger.quotas.booked(["user:\ufffdé:day:2025-11-12"])["user:\ufffdé:day:2025-11-12"] == times(1)
