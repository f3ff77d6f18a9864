"""What a relay tells of itself is true, also of what a relay before it has seen."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.relay import RelayOptions
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import ACKED, list_segments, measure
from llm_one_api.stores.journal.status import Figures, RelayStatus
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import Clock, Sink, kill, opened, record, settle


@pytest.fixture
def start(tmp_path: Path, sink: Sink, clock: Clock) -> Callable[[], Relay]:
    options = RelayOptions(batch_records=10, window=2)
    return lambda: Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, options=options, clock=clock)


def told(folder: Path) -> RelayStatus:
    found = status.read(folder)
    assert found is not None
    return found


def later(relay: Relay, clock: Clock) -> None:
    """Let it come to rest, and a second pass."""
    settle(relay)
    clock.now += 1.1
    relay.turn(urgent=True)


def test_where_no_relay_ever_was_nothing_is_told(tmp_path: Path) -> None:
    assert status.read(tmp_path) is None


def test_a_file_that_is_no_status_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay/status.json").write_text('{"at": "yesterday"}')

    assert status.read(tmp_path) is None


def test_records_under_way_and_their_age_are_told(
    make: Callable[..., Journal], start: Callable[[], Relay], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    sink.acking = False
    journal, now = make(), datetime.now(UTC)
    for number in range(45):
        ended = record(str(number))
        journal.close(msgspec.structs.replace(ended, at=now - timedelta(seconds=100 - number), duration=10.0))
    relay = start()

    for _ in range(3):
        relay.turn(urgent=True)
        clock.now += 1.1

    found = told(tmp_path)
    assert (found.unacked_batches, found.planned_batches, found.sent, found.acked) == (2, 3, 20, 0)
    assert found.oldest_unacked == now - timedelta(seconds=90)
    assert 90 <= found.lag < 100
    assert found.journal_bytes == measure(tmp_path).bytes > 0
    assert abs(found.at - now) < timedelta(seconds=20)


def test_when_all_is_acked_there_is_no_lag(
    make: Callable[..., Journal], start: Callable[[], Relay], clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    for number in range(45):
        journal.close(record(str(number)))

    later(start(), clock)

    found = told(tmp_path)
    assert (found.lag, found.oldest_unacked, found.unacked_batches, found.planned_batches) == (0.0, None, 0, 0)
    assert (found.sent, found.acked, found.resent) == (45, 45, 0)


def test_what_is_away_is_told_with_since_when(
    make: Callable[..., Journal], start: Callable[[], Relay], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    make().close(record("a"))
    sink.away = True
    relay = start()
    relay.turn(urgent=True)

    clock.now += 100
    relay.turn(urgent=True)
    away = told(tmp_path)
    sink.away = False
    clock.now += 100
    later(relay, clock)

    assert away.broker_away_since is not None
    assert away.acks_away_since is not None
    assert timedelta(seconds=99) < away.at - away.broker_away_since < timedelta(seconds=101)
    assert (told(tmp_path).broker_away_since, told(tmp_path).acks_away_since) == (None, None)


def test_a_batch_sent_again_is_told(
    make: Callable[..., Journal], start: Callable[[], Relay], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    sink.acking = False
    make().close(record("a"))
    relay = start()
    for _ in range(3):
        relay.turn(urgent=True)
        clock.now += 100

    relay.turn(urgent=True)

    assert (told(tmp_path).sent, told(tmp_path).resent) == (1, 3)


def test_it_tells_once_a_second_and_not_with_each_turn(
    make: Callable[..., Journal], start: Callable[[], Relay], clock: Clock, tmp_path: Path
) -> None:
    relay, journal = start(), make()
    relay.turn()
    before = told(tmp_path)

    for number in range(20):
        journal.close(record(str(number)))
        relay.turn()
        clock.now += 0.01
    during = told(tmp_path)
    clock.now += 1
    relay.turn()

    assert during == before
    assert told(tmp_path).at > before.at


def test_losses_are_summed_over_all_writers_with_the_time_of_the_last(
    make: Callable[..., Journal], start: Callable[[], Relay], clock: Clock, tmp_path: Path
) -> None:
    for journal in (make(), make()):
        journal.limit(over=True)
        for name in "abc":
            journal.close(record(name))
        journal.sync()

    relay = start()
    with capture_logs() as logs:
        later(relay, clock)
        for name in "de":
            journal.close(record(name))
            journal.sync()
            later(relay, clock)
        clock.now += 10
        relay.turn()

    found = told(tmp_path)
    assert found.figures == Figures(lost=8)
    assert found.lost_at is not None
    assert datetime.now(UTC) - found.lost_at < timedelta(seconds=30)
    assert [line["records"] for line in logs if line["event"] == "relay.lost"] == [6, 2]


def damage(folder: Path, call: bytes) -> None:
    for path in folder.glob("*.seg"):
        data = bytearray(path.read_bytes())
        place = data.find(call)
        if place >= 0:
            data[place] ^= 4
            path.write_bytes(data)


def test_what_was_met_is_counted_once_through_restarts_of_the_relay_and_after_its_segments_are_gone(
    make: Callable[..., Journal], start: Callable[[], Relay], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    for name in ("first", "second", "third"):
        journal.open(opened(name))
    journal.close(record("damaged!"))
    journal.limit(over=True)
    journal.close(record("lost"))
    journal.sync()
    kill(journal)
    damage(tmp_path, b"damaged!")
    expected = Figures(lost=1, corrupt=1, adopted=3)
    seen = []
    sink.acking = False

    for _ in range(3):  # each reads it all again, for nothing is acked
        relay = start()
        for _ in range(3):
            relay.turn(urgent=True)
        seen.append(told(tmp_path).figures)
    still_there = list_segments(tmp_path)
    sink.acking = True
    later(start(), clock)
    after = told(tmp_path)
    later(start(), clock)

    assert seen == [expected] * 3
    assert still_there
    assert list_segments(tmp_path) == []
    assert (after.figures, after.there) == (expected, {})
    assert told(tmp_path).figures == expected


def test_a_relay_that_died_between_freeing_and_telling_forgets_nothing(
    make: Callable[..., Journal], start: Callable[[], Relay], clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    journal.open(opened("a"))
    kill(journal)
    settle(start())
    before_it_was_freed = msgspec.structs.replace(
        told(tmp_path), gone=Figures(), there={path.name: Figures(adopted=1) for path in (tmp_path / ACKED).iterdir()}
    )
    status.write(tmp_path, before_it_was_freed)

    later(start(), clock)

    assert (told(tmp_path).gone, told(tmp_path).there) == (Figures(adopted=1), {})


def test_counts_go_on_where_the_last_relay_ended(
    make: Callable[..., Journal], start: Callable[[], Relay], clock: Clock, tmp_path: Path
) -> None:
    journal = make(segment_bytes=1)
    journal.close(record("a"))
    later(start(), clock)
    first = told(tmp_path)

    journal.close(record("b"))
    later(start(), clock)

    assert (first.sent, first.acked) == (1, 1)
    assert told(tmp_path).acked >= 2


def test_what_is_pruned_is_told_by_when_it_was_acked(
    make: Callable[..., Journal], sink: Sink, clock: Clock, tmp_path: Path
) -> None:
    journal = make()
    journal.close(record("a"))
    kill(journal)
    keeping = Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, clock=clock)
    settle(keeping)
    clock.now += 6
    later(keeping, clock)
    kept = told(tmp_path)
    (segment,) = (tmp_path / ACKED).iterdir()
    acked_at = segment.stat().st_mtime

    options = RelayOptions(keep_acked_bytes=0)
    pruning = Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, options=options, clock=clock)
    later(pruning, clock)

    assert (kept.pruned_until, kept.acked_bytes > 0) == (None, True)
    assert told(tmp_path).pruned_until == datetime.fromtimestamp(acked_at, UTC)
    assert told(tmp_path).acked_bytes == 0


def test_a_full_disk_stops_the_telling_and_nothing_else(
    make: Callable[..., Journal],
    start: Callable[[], Relay],
    sink: Sink,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay, journal = start(), make()
    later(relay, clock)
    before = told(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal.close(record("a"))
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("llm_one_api.books.relay.telling.write", refuse)
        for _ in range(3):
            later(relay, clock)
    during = told(tmp_path)
    later(relay, clock)

    assert sink.ids == ["a"]
    assert during == before
    assert [line["event"] for line in logs].count("relay.cannot_tell") == 1
    assert told(tmp_path).acked == 1


def test_the_relay_tells_at_its_end_what_it_leaves(
    make: Callable[..., Journal], start: Callable[[], Relay], tmp_path: Path
) -> None:
    make().close(record("a"))
    relay = start()

    relay.run(lambda _: True, drain=lambda _: False, drain_seconds=10)

    assert (told(tmp_path).acked, told(tmp_path).unacked_batches) == (1, 0)


def test_a_segment_that_cannot_be_read_is_late(
    make: Callable[..., Journal],
    start: Callable[[], Relay],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    make().close(record("a"))
    relay = start()
    with monkeypatch.context() as disk:
        disk.setattr("llm_one_api.stores.journal.reader._read_bytes", broken)
        for _ in range(10):
            relay.turn()
            clock.now += 10
        ill = told(tmp_path)
    later(relay, clock)

    assert 80 < ill.lag < 100
    assert ill.oldest_unacked is not None
    assert (told(tmp_path).lag, told(tmp_path).acked) == (0, 1)
