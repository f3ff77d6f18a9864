"""What was acked is put into the journal again, and comes to the same records."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.resending import NoRoom, Resending, check_room, kept
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.entries import Closed
from llm_one_api.stores.journal.reader import Found, SegmentReader
from llm_one_api.stores.journal.segments import ACKED, Name, list_segments
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import AT, Clock, Sink, entries, kill, opened, record, settle

EVER = datetime(2000, 1, 1, tzinfo=UTC)


def relay(folder: Path) -> tuple[Relay, Sink]:
    sink = Sink()
    return Relay(folder, publish=sink.publish, take_acks=sink.take_acks), sink


def resend(folder: Path, since: datetime = EVER) -> tuple[int, int]:
    """Do it; gives how many calls, and how many of them aborted."""
    journal = Journal(folder)
    done = Resending(folder, journal).resend(kept(folder, since))
    journal.shut()
    return done.records, done.aborted


def acked_at(folder: Path, name: str, at: datetime) -> None:
    os.utime(folder / ACKED / name, (at.timestamp(), at.timestamp()))


def test_everything_that_was_acked_comes_again_as_it_was(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make(segment_bytes=2000)
    for name in ("killed", "counted"):
        journal.open(opened(name))
    journal.end(record("counted", 0))
    for number in range(30):
        journal.open(opened(str(number)))
        journal.close(record(str(number), number))
    kill(journal)
    first, before = relay(tmp_path)
    settle(first)
    assert list_segments(tmp_path) == []

    done = resend(tmp_path)
    settle(first)
    another, after = relay(tmp_path)
    settle(another)

    assert done == (32, 2)
    assert len(before.ids) == 64, "a relay that runs sends them all once more"
    assert before.records["killed"].outcome == "aborted"
    assert after.ids == []
    assert list_segments(tmp_path) == []


def test_what_comes_again_says_so(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("killed"))
    journal.close(record("a"))
    kill(journal)
    settle(relay(tmp_path)[0])

    resend(tmp_path)

    assert [entry.again for entry in entries(tmp_path) if isinstance(entry, Closed)] == [True, True]


def test_the_next_relay_sends_it_where_none_runs(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.close(record("a", 31))
    kill(journal)
    settle(relay(tmp_path)[0])

    resend(tmp_path)
    after, sink = relay(tmp_path)
    settle(after)

    assert sink.records == {"a": record("a", 31)}


def test_doing_it_twice_sends_each_call_once_more_and_not_twice(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    for number in range(5):
        journal.close(record(str(number)))
    kill(journal)
    settle(relay(tmp_path)[0])

    first = resend(tmp_path)
    settle(relay(tmp_path)[0])
    second = resend(tmp_path)

    assert first == second == (5, 0)


def test_only_what_was_acked_since_then_comes_again(make: Callable[..., Journal], tmp_path: Path) -> None:
    for name in ("old", "new"):
        journal = make()
        journal.close(record(name))
        kill(journal)
        settle(relay(tmp_path)[0])
        if name == "old":
            for path in (tmp_path / ACKED).iterdir():
                acked_at(tmp_path, path.name, AT - timedelta(days=2))

    resend(tmp_path, AT - timedelta(days=1))
    after, sink = relay(tmp_path)
    settle(after)

    assert sink.ids == ["new"]


def test_what_is_acked_but_not_freed_yet_comes_again_too(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("goes on"))
    journal.open(opened("a"))
    journal.close(record("a"))
    running, sink = relay(tmp_path)
    settle(running)

    done = resend(tmp_path)
    settle(running)
    journal.close(record("goes on"))
    settle(running)

    assert done == (1, 0), "a call that goes on is not made aborted"
    assert sink.ids == ["a", "a", "goes on"]


def test_a_call_that_its_living_writer_carried_on_is_not_made_aborted(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make(segment_bytes=1500)
    journal.open(opened("long"))
    for number in range(20):
        journal.close(record(str(number)))
    running, sink = relay(tmp_path)
    settle(running)
    assert len(list((tmp_path / ACKED).iterdir())) > 3

    resend(tmp_path)
    settle(running)

    assert "long" not in sink.ids
    journal.close(record("long"))
    settle(running)
    assert sink.records["long"].outcome == "success"


def test_a_segment_that_somebody_deleted_makes_no_call_aborted_that_may_have_ended_in_it(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make(segment_bytes=1)
    journal.open(opened("a"))
    journal.open(opened("b"))
    journal.close(record("a"))
    journal.open(opened("c"))
    kill(journal)
    settle(relay(tmp_path)[0])
    with_the_end = sorted((tmp_path / ACKED).iterdir())[2]
    with_the_end.unlink()

    resend(tmp_path)
    after, sink = relay(tmp_path)
    settle(after)

    assert {who: each.outcome for who, each in sink.records.items()} == {"b": "aborted", "c": "aborted"}


def test_a_segment_that_a_relay_moves_meanwhile_is_read_all_the_same(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make()
    journal.close(record("a"))
    kill(journal)
    what = kept(tmp_path, EVER)
    settle(relay(tmp_path)[0])
    writer = make()

    done = Resending(tmp_path, writer).resend(what)

    assert (done.records, done.vanished) == (1, 0)


@pytest.mark.parametrize("of", ["the journal", "what is acked"])
def test_a_segment_that_a_relay_moves_while_they_are_listed_is_found(
    make: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    journal = make()
    journal.close(record("a"))
    kill(journal)
    running, _ = relay(tmp_path)
    listed = tmp_path if of == "the journal" else tmp_path / ACKED

    def listing(folder: Path) -> list[Name]:
        names = list_segments(folder)
        if folder == listed:
            settle(running)
        return names

    monkeypatch.setattr("llm_one_api.books.relay.resending.list_segments", listing)

    assert len(kept(tmp_path, EVER).names) == 1
    assert list_segments(tmp_path) == []


@pytest.mark.parametrize("acked", [False, True])
def test_a_call_that_ends_in_a_segment_made_meanwhile_is_not_made_aborted(
    make: Callable[..., Journal], tmp_path: Path, *, acked: bool
) -> None:
    clock = Clock()
    journal = make(segment_seconds=10, clock=clock)
    journal.open(opened("a"))
    journal.close(record("b"))
    what = kept(tmp_path, EVER)
    clock.now += 11
    journal.close(record("c"))
    journal.close(record("a"))
    kill(journal)
    if acked:
        settle(relay(tmp_path)[0])

    done = Resending(tmp_path, make()).resend(what)

    assert (done.records, done.aborted) == (1, 0)


def test_a_call_that_ends_while_its_segment_is_read_is_not_made_aborted(
    make: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.close(record("b"))
    what = kept(tmp_path, EVER)
    read = SegmentReader.read

    def slowly(reader: SegmentReader, *, final: bool) -> list[Found]:
        found = read(reader, final=final)
        journal.close(record("a"))
        kill(journal)
        return found

    monkeypatch.setattr(SegmentReader, "read", slowly)
    writer = Journal(tmp_path)

    done = Resending(tmp_path, writer).resend(what)

    assert (done.records, done.aborted) == (1, 0)
    kill(writer)


def test_a_last_segment_that_is_deleted_meanwhile_makes_no_call_aborted_that_may_have_ended_in_it(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make(segment_bytes=1)
    journal.open(opened("a"))
    journal.close(record("a"))
    kill(journal)
    settle(relay(tmp_path)[0])
    what = kept(tmp_path, EVER)
    max((tmp_path / ACKED).iterdir()).unlink()

    done = Resending(tmp_path, make()).resend(what)

    assert (done.records, done.vanished) == (0, 1)


def test_what_was_deleted_meanwhile_and_what_is_damaged_is_told(make: Callable[..., Journal], tmp_path: Path) -> None:
    for name in ("deleted", "damaged"):
        journal = make()
        journal.close(record(name))
        kill(journal)
    settle(relay(tmp_path)[0])
    what = kept(tmp_path, EVER)
    for path in (tmp_path / ACKED).iterdir():
        data = path.read_bytes()
        if b"deleted" in data:
            path.unlink()
        else:
            path.write_bytes(data.replace(b"damaged", b"dAmaged"))

    done = Resending(tmp_path, make()).resend(what)

    assert (done.records, done.vanished, done.unreadable) == (0, 1, 1)


@pytest.mark.parametrize(
    ("pruned_until", "incomplete"),
    [(None, False), (AT - timedelta(hours=1), False), (AT + timedelta(hours=1), True), (AT, True)],
)
def test_it_knows_whether_something_was_pruned_since_then(
    make: Callable[..., Journal], tmp_path: Path, pruned_until: datetime | None, incomplete: bool
) -> None:
    make().close(record("a"))
    unknown = kept(tmp_path, AT).incomplete
    settle(relay(tmp_path)[0])
    told = status.read(tmp_path)
    assert told
    status.write(tmp_path, msgspec.structs.replace(told, pruned_until=pruned_until))

    assert unknown is None
    assert kept(tmp_path, AT).incomplete is incomplete


def test_nothing_is_written_where_the_journal_would_be_full_by_it(
    make: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.close(record("a"))
    kill(journal)
    settle(relay(tmp_path)[0])
    what = kept(tmp_path, EVER)
    usual = os.statvfs(tmp_path)
    blocks = (64 << 20) // usual.f_frsize

    check_room(tmp_path, what, what.bytes)
    with pytest.raises(NoRoom, match=r"journal\.max_bytes"):
        check_room(tmp_path, what, what.bytes - 1)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*usual[:3], blocks, blocks, *usual[5:]]))
    with pytest.raises(NoRoom, match="room are needed"):
        check_room(tmp_path, what, None)


def test_a_disk_that_fills_up_on_the_way_is_told_with_how_far_it_came(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make()
    for number in range(10):
        journal.close(record(str(number)))
    kill(journal)
    settle(relay(tmp_path)[0])
    writes = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal writes
        writes += 1
        if writes > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, data)

    with pytest.raises(NoRoom, match="5 records are in the journal again"):
        Resending(tmp_path, make(write=write)).resend(kept(tmp_path, EVER))
