"""The counters of quotas were lost, or are not whole: what the ledger may not have is charged anew, each call once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.relay import RelayOptions
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.values import Permit, UsageRecord
from tests.harness.calls import Clock, Sink, kill, opened, record, settle
from tests.harness.quotas import Charged

WINDOWS = ("user:dev:day:2026-11-24",)


def begun(name: str) -> Opened:
    return msgspec.structs.replace(opened(name), permit=Permit(windows=WINDOWS, tokens=500, input_tokens=40))


def ended(name: str) -> UsageRecord:
    return msgspec.structs.replace(record(name), quota_windows=WINDOWS, quota_tokens=7)


@pytest.fixture
def store() -> Charged:
    return Charged()


@pytest.fixture
def relay(tmp_path: Path, sink: Sink, clock: Clock, store: Charged) -> Callable[..., Relay]:
    def start(**more: object) -> Relay:
        return Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, limits=store, clock=clock, **more)  # type: ignore[arg-type]

    return start


def turn(relay: Relay) -> None:
    while relay.turn():
        pass


@pytest.mark.parametrize("epoch", ["second", None])
def test_all_that_is_not_acked_is_charged_anew(
    make: Callable[..., Journal],
    relay: Callable[..., Relay],
    store: Charged,
    sink: Sink,
    clock: Clock,
    epoch: str | None,
) -> None:
    journal, dead = make(segment_bytes=1500), make()
    it = relay(options=RelayOptions(batch_records=4, window=2))
    for number in range(8):
        journal.close(ended(f"acked {number}"))
    settle(it)
    sink.acking = False
    dead.open(begun("dead"))
    kill(dead)
    names = [str(number) for number in range(50)]
    for name in names:
        journal.close(ended(name))
    clock.now += 1
    turn(it)
    before = dict(store.times)

    store.forget(epoch)
    journal.close(ended("new"))
    turn(it)

    assert len(before) == 59
    assert store.times == {**dict.fromkeys([*names, "dead", "new"], 1)}


def test_lost_counters_are_noticed_while_nothing_is_called(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink, clock: Clock
) -> None:
    sink.acking = False
    journal = make()
    it = relay()
    journal.close(ended("a"))
    turn(it)

    store.forget("second")
    clock.now += 1.5
    turn(it)

    assert store.times == {"a": 1}


def test_the_store_is_left_in_peace_when_all_is_in_the_ledger(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, clock: Clock
) -> None:
    journal = make()
    journal.close(ended("a"))
    it = relay()
    for _ in range(5):
        clock.now += 1
        turn(it)
    asked = store.asked

    for _ in range(20):
        clock.now += 1
        turn(it)

    assert store.asked == asked


def test_the_quota_check_is_asked_for_now_and_then_while_the_counters_are_not_whole(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, clock: Clock
) -> None:
    hints: list[float] = []

    def hint() -> None:
        hints.append(clock.now)
        raise ConnectionError

    journal = make()
    store.epoch = None
    it = relay(hint_quota_check=hint)
    for number in range(100):
        journal.close(ended(str(number)))
        turn(it)
        clock.now += 0.2

    store.epoch = "whole"
    for number in range(100, 150):
        journal.close(ended(str(number)))
        turn(it)
        clock.now += 0.2

    assert hints == pytest.approx([1000.0, 1005.0, 1010.0, 1015.0], abs=0.3)
    assert len(store.times) == 150


def test_the_quota_check_is_asked_for_when_the_store_is_back_also_where_nothing_waits_any_more(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, clock: Clock
) -> None:
    hints: list[float] = []
    journal = make()
    it = relay(hint_quota_check=lambda: hints.append(clock.now))
    store.away = True
    journal.close(ended("a"))
    kill(journal)
    clock.now += 1
    settle(it)
    assert it.settling is not None
    before = (it.settling.link.away, it.settling.unsettled, list(hints))

    store.away = False
    clock.now += 10
    turn(it)

    assert before == (True, 0, [])
    assert not it.settling.link.away
    assert hints == [clock.now]


def test_what_was_charged_meanwhile_is_not_charged_twice_when_the_counters_are_whole_again(
    make: Callable[..., Journal], relay: Callable[..., Relay], store: Charged, sink: Sink
) -> None:
    sink.acking = False
    journal = make()
    it = relay()
    journal.close(ended("before"))
    turn(it)
    store.forget()
    journal.close(ended("meanwhile"))
    turn(it)

    store.epoch = "second"
    journal.close(ended("after"))
    turn(it)

    assert store.times == {"before": 1, "meanwhile": 1, "after": 1}


STEPS = st.sampled_from(
    ["close", "close", "close", "open", "kill", "relay", "store away", "store back", "flush", "book", "wait"]
)


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(STEPS, max_size=40), segment_bytes=st.sampled_from([1200, 1 << 20]))
def test_whatever_happens_each_call_that_the_ledger_may_lack_is_charged_once_since_the_counters_were_lost(
    steps: list[str], segment_bytes: int
) -> None:
    with TemporaryDirectory() as name:
        folder, clock, store, sink = Path(name), Clock(), Charged(), Sink()
        sink.acking = False

        def start() -> Relay:
            options = RelayOptions(batch_records=3, window=4)
            return Relay(
                folder, publish=sink.publish, take_acks=sink.take_acks, limits=store, options=options, clock=clock
            )

        relay = start()
        journal = Journal(folder, segment_bytes=segment_bytes)
        made: list[str] = []
        for count, step in enumerate(steps):
            match step:
                case "close":
                    journal.close(ended(str(count)))
                    made.append(str(count))
                case "open":
                    journal.open(begun(str(count)))
                    made.append(str(count))
                case "kill":
                    kill(journal)
                    journal = Journal(folder, segment_bytes=segment_bytes)
                case "relay":
                    relay = start()
                case "store away" | "store back":
                    store.away = step == "store away"
                case "flush":
                    store.forget(f"after {count}")
                case "book":
                    store.book()
                case "wait":
                    clock.now += 400
            turn(relay)
        kill(journal)
        store.away = False
        for _ in range(2):
            clock.now += 400
            turn(relay)

        assert store.times == dict.fromkeys(made, 1)
