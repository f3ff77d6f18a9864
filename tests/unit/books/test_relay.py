"""The relay as a whole, in this process: what stands in a journal comes out as one record a call."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.relay import RelayOptions
from llm_one_api.stores.journal.entries import Closed, Ended, Entry, Opened, framed
from llm_one_api.stores.journal.segments import list_segments
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import Clock, Sink, entries, kill, opened, record, settle


@pytest.fixture
def relay(tmp_path: Path, sink: Sink, clock: Clock) -> Relay:
    return Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, clock=clock)


def test_a_finished_call_is_sent_while_its_writer_lives(make: Callable[..., Journal], relay: Relay, sink: Sink) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.open(opened("b"))
    journal.close(record("a", 31))

    settle(relay)

    assert sink.ids == ["a"]
    assert sink.records["a"] == record("a", 31)


def test_an_entry_seen_half_written_is_waited_for(relay: Relay, sink: Sink, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open(opened("a"))
    settle(relay)

    for byte in framed(Closed(record=record("a"))):
        os.write(journal._fd, bytes([byte]))
        relay.turn(urgent=True)
    settle(relay)

    assert sink.ids == ["a"]
    assert (relay.follower.torn, relay.follower.corrupt) == (0, 0)
    kill(journal)


def test_what_a_dead_writer_left_open_is_sent_as_aborted_once(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make()
    for name in "abc":
        journal.open(opened(name))
    journal.close(record("b"))
    settle(relay)

    kill(journal)
    settle(relay)
    settle(relay)

    assert sorted(sink.ids) == ["a", "b", "c"]
    assert [sink.records[name].outcome for name in "abc"] == ["aborted", "success", "aborted"]
    assert list_segments(tmp_path) == []


def test_a_call_whose_tokens_are_being_counted_is_sent_when_they_are_and_once(
    make: Callable[..., Journal], relay: Relay, sink: Sink
) -> None:
    journal = make(segment_bytes=1500)
    journal.open(opened("a"))
    journal.end(record("a", 0))
    for number in range(50):
        journal.close(record(str(number)))
    settle(relay)
    before = "a" in sink.ids

    journal.close(record("a", 31))
    settle(relay)

    assert not before
    assert sink.ids.count("a") == 1
    assert sink.records["a"].usage.total_tokens == 31


def test_a_call_whose_tokens_could_not_be_counted_any_more_is_sent_as_it_stood(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1500)
    journal.open(opened("a"))
    journal.end(record("a", 0))
    for number in range(50):
        journal.close(record(str(number)))

    kill(journal)
    settle(relay)

    assert sink.ids.count("a") == 1
    assert (sink.records["a"].outcome, sink.records["a"].usage.total_tokens) == ("success", 0)
    assert list_segments(tmp_path) == []


def test_an_open_call_goes_on_through_rotations_and_is_sent_once(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1500)
    journal.open(opened("long"))
    journal.open(opened("for ever"))
    for number in range(100):
        journal.open(opened(str(number)))
        journal.close(record(str(number)))
        if number % 30 == 0:
            settle(relay)
    journal.close(record("long"))
    settle(relay)
    assert len(list_segments(tmp_path)) <= 2

    kill(journal)
    settle(relay)

    assert sorted(sink.ids) == sorted([*map(str, range(100)), "long", "for ever"])
    assert sink.records["long"].outcome == "success"
    assert sink.records["for ever"].outcome == "aborted"
    assert list_segments(tmp_path) == []


def test_a_segment_stays_until_its_records_are_acked(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.open(opened("b"))
    journal.close(record("b"))
    kill(journal)
    sink.acking = False

    for _ in range(5):
        relay.turn(urgent=True)
    before = list_segments(tmp_path)
    sink.acks = [sink.batches[0][0]]
    for _ in range(5):
        relay.turn(urgent=True)
    half = list_segments(tmp_path)
    sink.acks = [batch_id for batch_id, _, _ in sink.batches]
    relay.turn(urgent=True)

    assert len(before) == len(half) == 1
    assert list_segments(tmp_path) == []
    assert len(list((tmp_path / "acked").iterdir())) == 1


def test_segments_go_in_order_so_that_after_a_crash_of_the_relay_nobody_seems_aborted(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1)
    journal.open(opened("a"))
    journal.close(record("b"))
    journal.close(record("a"))
    kill(journal)
    sink.acking = False
    for _ in range(5):
        relay.turn(urgent=True)
    before = list_segments(tmp_path)

    sink.acks = [batch_id for batch_id, records, _ in sink.batches if records[0].request_id == "a"]
    relay.turn(urgent=True)

    assert [name.number for name in before] == [1, 2]
    assert list_segments(tmp_path) == before  # the later one, though all acked, waits for the other
    sink.acking = True
    settle(relay_of(tmp_path, sink))
    assert {who: each.outcome for who, each in sink.records.items()} == {"a": "success", "b": "success"}


def test_a_relay_that_starts_anew_sends_what_was_not_freed_under_the_same_ids_of_calls(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make(segment_bytes=3000)
    for number in range(50):
        journal.open(opened(str(number)))
        journal.close(record(str(number), number))
    journal.open(opened("open"))
    settle(relay)
    kill(journal)

    settle(Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks))

    assert sorted(sink.records) == sorted([*map(str, range(50)), "open"])
    assert all(each.outcome == "success" for name, each in sink.records.items() if name != "open")
    assert list_segments(tmp_path) == []


def test_a_late_ack_of_another_relay_with_smaller_batches_acks_no_call_that_was_not_in_it(
    make: Callable[..., Journal], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    for number in range(5):
        journal.open(opened(str(number)))
    kill(journal)
    before = Relay(tmp_path, publish=sink.publish, take_acks=list, options=RelayOptions(batch_records=2), clock=clock)
    before.turn(urgent=True)
    late = [batch_id for batch_id, _, _ in sink.batches]
    after = Relay(tmp_path, publish=sink.publish, take_acks=lambda: late, clock=clock)

    for _ in range(3):
        after.turn(urgent=True)

    assert len(late) == 3
    assert after.window.acked == 0
    assert len(list_segments(tmp_path)) == 1


def test_a_damaged_entry_is_counted_and_costs_only_itself(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make()
    for name in "abc":
        journal.close(record(name))
    kill(journal)
    (segment,) = tmp_path.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b"\xa1b") + 1] ^= 4
    segment.write_bytes(data)

    settle(relay)

    assert sink.ids == ["a", "c"]
    assert (relay.follower.corrupt, relay.follower.torn) == (1, 0)


def test_a_call_whose_carried_copy_is_damaged_is_still_known_by_the_old_one(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1)
    journal.open(opened("a"))
    journal.close(record("b"))
    kill(journal)
    second = tmp_path / str(list_segments(tmp_path)[1])
    data = bytearray(second.read_bytes())
    data[30] ^= 1
    second.write_bytes(data)

    settle(relay)

    assert sink.records["a"].outcome == "aborted"
    assert sink.records["b"].outcome == "success"


def test_a_segment_that_somebody_removed_stops_nobody_else(
    make: Callable[..., Journal], relay: Relay, sink: Sink, tmp_path: Path
) -> None:
    first, second = make(), make()
    first.open(opened("gone"))
    settle(relay)
    for path in tmp_path.glob("*.seg"):
        path.unlink()

    second.close(record("there"))
    settle(relay)

    assert sink.ids == ["there"]


def test_a_batch_goes_when_it_is_full_or_old_enough(
    make: Callable[..., Journal], tmp_path: Path, sink: Sink, clock: Clock
) -> None:
    options = RelayOptions(batch_records=3, batch_ms=100)
    relay = Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, options=options, clock=clock)
    journal = make()
    for name in "abcd":
        journal.close(record(name))

    relay.turn()
    at_once = sink.ids
    clock.now += 0.2
    relay.turn()

    assert at_once == ["a", "b", "c"]
    assert sink.ids == ["a", "b", "c", "d"]


def test_what_happens_is_seen_at_once_though_nothing_can_be_sent(
    make: Callable[..., Journal], relay: Relay, sink: Sink, clock: Clock
) -> None:
    sink.away = True
    journal = make()
    journal.open(opened("a"))
    for number in range(3000):
        journal.close(record(str(number)))
    for _ in range(50):
        relay.turn()
        clock.now += 1

    (writer,) = relay.follower.writers.values()
    assert list(writer.open) == ["a"]
    assert writer.segments[-1].reader.at == writer.segments[-1].path.stat().st_size
    sink.away = False
    clock.now += 10
    settle(relay)
    assert sink.ids == [str(number) for number in range(3000)]


OPERATION = st.sampled_from(
    ["open", "open", "end", "close", "close", "reject", "rotate", "turn", "restart", "full", "room", "sync"]
)


@settings(max_examples=150, deadline=None)
@given(operations=st.lists(OPERATION, max_size=40), cut=st.floats(0, 1), acking=st.booleans(), which=st.integers(0))
def test_however_it_went_and_wherever_it_was_cut_each_readable_call_has_one_record(
    operations: list[str], cut: float, acking: bool, which: int
) -> None:
    with TemporaryDirectory() as name:
        folder, sink = Path(name), Sink()
        sink.acking = acking
        journal, relay, restarts = Journal(folder, fsync="never"), relay_of(folder, sink), 0
        going: list[str] = []
        seen: dict[Path, int] = {}
        for number, operation in enumerate(operations):
            if operation == "open":
                going.append(f"call-{number}")
                journal.open(opened(going[-1]))
            elif operation == "end" and going:
                journal.end(msgspec.structs.replace(record(going[which % len(going)], number), outcome="client_gone"))
            elif operation == "close" and going:
                journal.close(record(going.pop(which % len(going)), number))
            elif operation == "reject":
                journal.close(record(f"call-{number}", number))
            elif operation == "rotate":
                journal._renew_at = 0.0
            elif operation in {"full", "room"}:
                journal.limit(over=operation == "full")
            elif operation == "sync":
                journal.sync()
            elif operation == "turn":
                relay.turn(urgent=True)
                seen.update({s.path: s.reader.at for w in relay.follower.writers.values() for s in w.segments})
            elif operation == "restart":
                relay, restarts = relay_of(folder, sink), restarts + 1

        kill(journal)
        if journal._name:  # half an entry is never seen whole first, so the cut is behind what was read
            newest = folder / str(journal._name)
            read, size = seen.get(newest, 0), newest.stat().st_size
            os.truncate(newest, read + round(cut * (size - read)))
        expected = outcomes([*entries(folder), *(entries(folder / "acked"))])
        sink.acking, sink.acks = True, [batch_id for batch_id, _, _ in sink.batches]
        settle(relay if not restarts else relay_of(folder, sink))

        told: dict[str, set[str]] = {}
        for _, records, _ in sink.batches:
            for each in records:
                told.setdefault(each.request_id, set()).add(each.outcome)
        assert told == {who: {outcome} for who, outcome in expected.items()}
        assert restarts or len(sink.ids) == len(expected)
        assert list_segments(folder) == []


def relay_of(folder: Path, sink: Sink) -> Relay:
    return Relay(folder, publish=sink.publish, take_acks=sink.take_acks)


def outcomes(found: list[Entry]) -> dict[str, str]:
    """What each call that can be read must come to."""
    expected = {entry.request_id: "aborted" for entry in found if isinstance(entry, Opened)}
    expected |= {entry.record.request_id: "client_gone" for entry in found if isinstance(entry, Ended)}
    return expected | {entry.record.request_id: "success" for entry in found if isinstance(entry, Closed)}
