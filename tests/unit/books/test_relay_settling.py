"""Calls that have ended are charged to their quotas: at once, each once, whatever is away."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.batches import Batch, Cutter, Lines
from llm_one_api.books.relay.follower import Follower
from llm_one_api.books.relay.relay import RelayOptions
from llm_one_api.books.relay.settling import Settling
from llm_one_api.limits.charging import Charge
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.stores.journal.segments import list_segments
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.values import Permit, UsageRecord
from tests.harness.calls import Clock, Sink, kill, opened, record, settle
from tests.harness.quotas import Charged

WINDOWS = ("user:dev:day:2026-11-24", "all:total:ever")
PERMIT = Permit(windows=WINDOWS, tokens=500, input_tokens=40)


def begun(name: str) -> Opened:
    return msgspec.structs.replace(opened(name), permit=PERMIT)


def ended(name: str, tokens: int = 7) -> UsageRecord:
    return msgspec.structs.replace(record(name, tokens), quota_windows=WINDOWS, quota_tokens=tokens)


def a_cent(one: UsageRecord) -> UsageRecord:
    """A price of a cent a call."""
    return msgspec.structs.replace(one, cost=Decimal("0.01"))


@pytest.fixture
def store() -> Charged:
    return Charged()


@pytest.fixture
def relay(tmp_path: Path, sink: Sink, clock: Clock, store: Charged) -> Callable[..., Relay]:
    def start(options: RelayOptions = RelayOptions()) -> Relay:  # noqa: B008 (frozen)
        return Relay(
            tmp_path,
            publish=sink.publish,
            take_acks=sink.take_acks,
            price=a_cent,
            limits=store,
            options=options,
            clock=clock,
        )

    return start


def test_a_call_is_charged_when_it_has_ended_and_what_is_charged_stands_in_its_record(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink
) -> None:
    journal = make()
    journal.open(begun("a"))
    journal.close(ended("a", 31))

    settle(relay())

    assert store.pending == {"a": Charge(id="a", windows=WINDOWS, tokens=31, nanos=10_000_000)}
    assert (sink.records["a"].quota_tokens, sink.records["a"].quota_cost) == (31, Decimal("0.01"))


def test_calls_are_charged_while_nothing_can_be_sent(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink
) -> None:
    sink.away = True
    journal = make(segment_bytes=1500)
    it = relay(options=RelayOptions(batch_records=3, window=1))

    for number in range(50):
        journal.close(ended(str(number)))
        it.turn()

    assert store.order == [str(number) for number in range(50)]
    assert sink.ids == []


def test_the_same_cost_is_charged_and_sent_of_records_that_are_read_again_to_be_sent(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink, clock: Clock
) -> None:
    sink.away = True
    journal = make()
    journal.close(ended("a", 31))
    it = relay(options=RelayOptions(batch_records=1, window=1))
    it.turn(urgent=True)
    journal.close(ended("b", 32))
    it.turn(urgent=True)

    sink.away = False
    clock.now += 10
    settle(it)

    assert {name: charge.tokens for name, charge in store.pending.items()} == {"a": 31, "b": 32}
    assert [sink.records[name].quota_cost for name in "ab"] == [Decimal("0.01")] * 2


def test_calls_that_no_quota_holds_for_ask_nothing_of_the_store(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink, clock: Clock
) -> None:
    sink.acking = False
    journal = make()
    journal.close(record("a"))
    it = relay()

    for _ in range(5):
        clock.now += 2
        it.turn(urgent=True)

    assert "a" in sink.ids
    assert store.asked == 0


def test_a_call_whose_process_died_is_charged_its_input_once(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink
) -> None:
    sink.acking = False
    journal = make()
    journal.open(begun("a"))
    journal.open(begun("b"))
    journal.end(ended("b", 9))
    journal.open(opened("unlimited"))
    kill(journal)

    relay().turn(urgent=True)
    before = dict(store.pending)
    store.book()
    relay().turn(urgent=True)

    assert {name: charge.tokens for name, charge in before.items()} == {"a": 40, "b": 9}
    assert sink.records["a"].quota_tokens == 40
    assert store.times == {"a": 1, "b": 1}


def test_a_relay_that_reads_the_journal_anew_charges_nothing_twice(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink
) -> None:
    sink.acking = False
    journal = make(segment_bytes=1500)
    for number in range(20):
        journal.close(ended(str(number)))
    it = relay()
    while it.turn(urgent=True):
        pass
    store.book()

    journal.close(ended("new"))
    it = relay()
    while it.turn(urgent=True):
        pass

    assert list(store.pending) == ["new"]
    assert set(store.times.values()) == {1}
    assert len(store.times) == 21


def test_marks_are_dropped_when_their_segments_are_freed(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1500)
    it = relay()
    for number in range(20):
        journal.close(ended(str(number)))
    settle(it)
    journal.shut()
    settle(it)
    it.turn()

    assert list_segments(tmp_path) == []
    assert store.marks == {}


def test_while_the_store_is_away_records_are_sent_and_what_is_not_freed_is_charged_later_in_order(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    it = relay()
    store.away = True
    with capture_logs() as said:
        for number in range(30):
            journal.close(ended(str(number)))
            settle(it)
        clock.now += 1
        it.turn()
        told = status.read(tmp_path)
        store.away = False
        clock.now += 10
        settle(it)
        clock.now += 1
        it.turn()

    assert len(sink.ids) == 30
    assert told is not None
    assert told.unsettled == 30
    assert told.limits_away_since is not None
    assert store.order == [str(number) for number in range(30)]
    assert [event["event"] for event in said if event.get("what") == "limits"] == ["relay.away", "relay.back"]
    after = status.read(tmp_path)
    assert after is not None
    assert (after.unsettled, after.limits_away_since) == (0, None)


def test_the_store_is_asked_less_and_less_often_while_it_is_away(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, clock: Clock
) -> None:
    journal = make()
    journal.close(ended("a"))
    it = relay()
    store.away = True

    for _ in range(600):
        clock.now += 0.1
        it.turn()

    assert 10 <= store.asked <= 20


def test_what_was_freed_before_it_could_be_charged_is_left_to_ingest(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    store.away = True
    it = relay()
    journal.close(ended("a"))
    journal.shut()
    settle(it)
    freed = list_segments(tmp_path)

    store.away = False
    clock.now += 10
    it.turn()

    assert freed == []
    assert store.times == {}
    assert it.settling is not None
    assert it.settling.unsettled == 0


def test_many_calls_that_wait_to_be_charged_wait_on_the_disk(
    make: Callable[..., Journal], store: Charged, clock: Clock, tmp_path: Path
) -> None:
    planned: list[Batch] = []
    lines = Lines(a_cent)
    settling = Settling(store, lines.priced, lambda: planned, most_kept=700, clock=clock)
    follower = Follower(tmp_path, Cutter(planned.append, lambda: False, lines, settling), clock=clock)
    journal = make(segment_bytes=1 << 20)
    store.away = True
    for number in range(3000):
        journal.close(ended(str(number)))
        journal.close(record(f"unlimited {number}"))

    while follower.follow():
        settling.turn()
    waiting, kept = settling.unsettled, settling._kept
    store.away = False
    clock.now += 10
    while settling.turn():
        pass

    assert waiting == 3000
    assert kept <= 700 + 500
    assert store.times == dict.fromkeys(map(str, range(3000)), 1)
    assert (settling.unsettled, settling._kept) == (0, 0)
    assert {charge.nanos for charge in store.pending.values()} == {10_000_000}


def test_records_that_are_sent_again_by_hand_are_charged_nothing_again(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink, clock: Clock
) -> None:
    journal = make()
    journal.close(ended("a"), again=True)
    sink.away = True
    it = relay(options=RelayOptions(window=1))
    it.turn(urgent=True)
    sink.away = False
    clock.now += 10

    settle(it)

    assert sink.records["a"].quota_cost == Decimal("0.01")
    assert store.asked == 0


def test_a_price_that_fails_costs_a_call_its_money_and_not_its_tokens(
    make: Callable[..., Journal], tmp_path: Path, store: Charged, sink: Sink, clock: Clock
) -> None:
    def fails(one: UsageRecord) -> UsageRecord:
        raise LookupError(one.model)

    journal = make()
    journal.close(ended("a", 31))
    it = Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, price=fails, limits=store, clock=clock)

    settle(it)

    assert store.pending["a"] == Charge(id="a", windows=WINDOWS, tokens=31)
    assert sink.records["a"].quota_cost is None
