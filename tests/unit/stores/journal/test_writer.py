from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS
from pathlib import Path
from threading import Event, Thread, get_ident

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.stores.journal.entries import Carried, Closed, Opened
from llm_one_api.stores.journal.segments import create, is_released, list_segments
from llm_one_api.stores.journal.writer import _MOST_WAITING, Journal
from llm_one_api.values import Permit, Usage
from tests.harness.calls import Clock, entries, kill, opened, record


class Disk:
    """A disk that fills up when it is told to, in the middle of an entry if it is asked for."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.says = ENOSPC

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return os.write(fd, data)
        if self.room == 0:
            raise OSError(self.says, os.strerror(self.says))
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, disk: Disk, clock: Clock) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def journal(**options: object) -> Journal:
        made.append(Journal(tmp_path, **{"write": disk.write, "clock": clock, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield journal
    for each in made:
        kill(each)


def closed_ids(folder: Path) -> list[str]:
    return [entry.record.request_id for entry in entries(folder) if isinstance(entry, Closed)]


def test_a_call_can_be_read_while_it_goes_on_and_after_it_ended(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()

    journal.open(opened("a"))
    before = entries(tmp_path)
    journal.close(record("a", 31))

    assert before[0] == opened("a")
    assert entries(tmp_path)[-1] == Closed(record=record("a", 31))
    assert journal.open_calls == 0


def test_nothing_is_on_disk_before_the_first_call(make: Callable[..., Journal], tmp_path: Path) -> None:
    make().sync()

    assert list(tmp_path.iterdir()) == []


def test_a_rejected_call_needs_no_open(make: Callable[..., Journal], tmp_path: Path) -> None:
    make().close(record("a"))

    assert closed_ids(tmp_path) == ["a"]


def test_a_segment_is_for_its_owners_eyes_only(make: Callable[..., Journal], tmp_path: Path) -> None:
    make().open(opened("a"))

    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*.seg")] == [0o600]


def test_a_segment_is_never_seen_unlocked_while_its_writer_lives(tmp_path: Path) -> None:
    seen: list[bool] = []

    def write(fd: int, data: bytes) -> int:
        seen.extend(is_released(path) for path in tmp_path.glob(".*.seg"))
        assert not list_segments(tmp_path)[1:]
        return os.write(fd, data)

    journal = Journal(tmp_path, write=write)
    journal.open(opened("a"))
    journal.close(record("a"))

    assert seen == [False]
    assert not is_released(next(tmp_path.glob("*.seg")))
    journal.shut()
    assert is_released(next(tmp_path.glob("*.seg")))


def test_a_full_segment_is_followed_by_one_that_begins_with_the_open_calls(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make(segment_bytes=600)
    journal.open(opened("long"))
    while len(list_segments(tmp_path)) < 2:
        journal.open(opened("short"))
        journal.close(record("short"))

    first, second = list_segments(tmp_path)

    (tmp_path / str(first)).unlink()
    left = entries(tmp_path)
    marker = next(place for place, entry in enumerate(left) if isinstance(entry, Carried))
    assert opened("long") in left[:marker]
    assert left[marker] == Carried(calls=marker)
    assert second == first.next


def test_an_old_segment_is_followed_by_a_new_one_though_nothing_happens(
    make: Callable[..., Journal], tmp_path: Path, clock: Clock
) -> None:
    journal = make(segment_seconds=300)
    journal.open(opened("a"))
    journal.sync()
    clock.now += 299
    journal.sync()
    assert len(list_segments(tmp_path)) == 1

    journal.close(record("b"))
    clock.now += 2
    journal.sync()

    assert len(list_segments(tmp_path)) == 2


def test_a_segment_without_news_is_not_rotated_for_ever(
    make: Callable[..., Journal], tmp_path: Path, clock: Clock
) -> None:
    journal = make(segment_seconds=300)
    journal.open(opened("a"))

    for _ in range(5):
        clock.now += 301
        journal.sync()

    assert len(list_segments(tmp_path)) == 1


@pytest.mark.parametrize("says", [ENOSPC, EDQUOT, EFBIG, EIO, EROFS])
def test_whatever_a_disk_refuses_with_its_records_wait_and_it_is_said_why(
    make: Callable[..., Journal], tmp_path: Path, disk: Disk, clock: Clock, says: int
) -> None:
    journal = make()
    journal.open(opened("a"))
    disk.room, disk.says = 0, says

    with capture_logs() as logs:
        journal.close(record("a"))
        journal.close(record("b"))
        journal.sync()
        waited = journal.full
        disk.room = None
        clock.now += 1
        journal.sync()

    assert waited
    assert not journal.full
    assert closed_ids(tmp_path) == ["a", "b"]
    assert [line["event"] for line in logs] == ["journal.trouble", "journal.recovered"]
    assert os.strerror(says) in logs[0]["error"]


def test_a_folder_that_cannot_be_made_is_as_a_full_disk(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "journal"
    folder.touch()
    journal = Journal(folder, clock=clock)

    journal.open(opened("a"))
    journal.close(record("a"))
    waited = journal.full
    folder.unlink()
    clock.now += 1
    journal.sync()

    assert waited
    assert closed_ids(folder) == ["a"]
    kill(journal)


@pytest.mark.parametrize("room", [0, 1, 20])
def test_an_entry_that_was_cut_short_stands_whole_in_the_next_segment(
    make: Callable[..., Journal], tmp_path: Path, disk: Disk, clock: Clock, room: int
) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.open(opened("b"))
    disk.room = room

    journal.close(record("a"))
    refused = journal.full
    disk.room = None
    clock.now += 1
    journal.sync()

    assert refused
    assert not journal.full
    assert closed_ids(tmp_path) == ["a"]
    assert opened("b") in entries(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_records_wait_in_memory_while_the_disk_is_full_and_what_is_beyond_is_counted(
    make: Callable[..., Journal], tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    journal = make()
    journal.open(opened("first"))
    disk.room = 0

    for number in range(_MOST_WAITING + 3):
        journal.open(opened(str(number)))
        journal.close(record(str(number)))
        clock.now += 0.01
    journal.open(opened("last"))

    assert (journal.full, journal.lost, journal.open_calls) == (True, 3, 2)
    disk.room = None
    clock.now += 1
    journal.close(record("first"))
    assert closed_ids(tmp_path) == ["first", *map(str, range(_MOST_WAITING))]
    assert opened("last") in entries(tmp_path)
    assert not journal.full


def test_where_there_is_room_for_some_of_those_that_wait_they_are_written_and_the_others_wait_on(
    make: Callable[..., Journal], tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    journal = make()
    journal.open(opened("a"))
    disk.room = 0
    for number in range(20):
        journal.close(record(str(number)))
    disk.room = 3000

    clock.now += 1
    journal.sync()
    some = closed_ids(tmp_path)
    still_full = journal.full
    disk.room = None
    clock.now += 1
    journal.sync()

    assert 2 < len(some) < 18
    assert still_full
    assert sorted(closed_ids(tmp_path)) == sorted(map(str, range(20)))
    assert not journal.full


def test_a_flood_of_refused_calls_costs_none_that_was_sent(
    make: Callable[..., Journal], tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    journal = make()
    journal.open(opened("sent"))
    disk.room = 0

    for number in range(_MOST_WAITING + 3):
        journal.close(msgspec.structs.replace(record(f"refused-{number}"), outcome="rejected"))
    journal.close(record("sent"))
    disk.room = None
    clock.now += 1
    journal.sync()

    assert closed_ids(tmp_path)[-1] == "sent"
    assert len(closed_ids(tmp_path)) + journal.lost == _MOST_WAITING + 4


def test_a_full_disk_is_not_asked_again_for_every_entry(
    make: Callable[..., Journal], disk: Disk, clock: Clock, tmp_path: Path
) -> None:
    asked = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal asked
        asked += 1
        return disk.write(fd, data)

    journal = make(write=write)
    journal.open(opened("a"))
    disk.room = asked = 0

    for number in range(500):
        journal.close(record(str(number)))
        clock.now += 0.001

    assert asked < 15


def test_a_segment_serves_on_where_no_new_one_can_be_made(
    make: Callable[..., Journal], tmp_path: Path, clock: Clock
) -> None:
    journal = make(segment_seconds=300)
    journal.open(opened("a"))
    (segment,) = list_segments(tmp_path)
    (tmp_path / f".{segment.next}").mkdir()  # stands in its successor's way

    clock.now += 301
    journal.close(record("a"))

    assert closed_ids(tmp_path) == ["a"]
    assert (journal.full, journal.lost) == (False, 0)
    assert list_segments(tmp_path) == [segment]


@pytest.mark.parametrize(
    "spoiled",
    [
        {"end_user": "broken \ud800 surrogate"},
        {"usage_raw": {"huge": 2**80}},
        {"usage_raw": {"long": "x" * (5 << 20)}},
        {"tags": ("\udfff",), "usage": Usage(total_tokens=2**70)},
    ],
)
def test_a_record_that_cannot_be_written_is_mended_not_lost(
    make: Callable[..., Journal], tmp_path: Path, spoiled: dict[str, object]
) -> None:
    journal = make()

    journal.close(msgspec.structs.replace(record("a"), **spoiled))

    assert closed_ids(tmp_path) == ["a"]


def test_with_fsync_always_each_entry_is_brought_to_the_disk_before_the_call_goes_on(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    offloaded: list[int] = []

    def offload(blocking: Callable[[], None]) -> None:
        offloaded.append(len(entries(tmp_path)))
        thread = Thread(target=blocking)
        thread.start()
        thread.join()

    journal = make(fsync="always", offload=offload)

    journal.open(opened("a"))
    journal.close(record("a"))

    assert offloaded == [2, 3]  # OPEN and the marker of a new segment; CLOSE


def test_a_sync_in_another_thread_does_not_hold_up_the_writer(
    make: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make(segment_bytes=2000)
    journal.open(opened("a"))
    syncing, go_on, me = Event(), Event(), get_ident()
    fsync = os.fsync

    def slow(fd: int) -> None:
        assert get_ident() != me
        syncing.set()
        go_on.wait(10)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    thread = Thread(target=journal.sync)
    thread.start()
    syncing.wait(10)
    for number in range(50):  # rotates several times
        journal.close(record(str(number)))
    go_on.set()
    thread.join()

    assert len(list_segments(tmp_path)) > 3
    assert closed_ids(tmp_path) == [str(number) for number in range(50)]


def test_after_a_failed_fsync_it_goes_on_in_a_new_segment(
    make: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.open(opened("a"))

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        journal.sync()
    journal.open(opened("b"))

    assert [segment.number for segment in list_segments(tmp_path)] == [0, 1]
    assert not journal.full


def test_synced_segments_leave_no_descriptor_behind(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make(segment_bytes=1000)
    journal.open(opened("a"))
    journal.sync()
    before = list(Path("/proc/self/fd").iterdir())

    for number in range(30):
        journal.close(record(str(number)))
        journal.sync()

    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_an_entry_after_the_end_begins_a_new_writer(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.shut()

    journal.close(record("a"))

    assert len({segment.writer for segment in list_segments(tmp_path)}) == 2
    assert closed_ids(tmp_path) == ["a"]


def test_a_segment_that_cannot_be_filled_does_not_appear(tmp_path: Path) -> None:
    from llm_one_api.stores.journal.segments import Name

    name = Name("0" * 32, 0)

    with pytest.raises(OSError, match="short write"):
        create(tmp_path, name, b"content", lambda _fd, _data: 3)

    assert list(tmp_path.iterdir()) == []


def test_opened_calls_become_records_that_say_how_little_is_known() -> None:
    call = msgspec.structs.replace(opened("a"), stream=True, tags=("t",))

    aborted = call.left()

    assert isinstance(call, Opened)
    assert (aborted.outcome, aborted.error, aborted.usage_source) == ("aborted", "gateway_died", "none")
    assert (aborted.request_id, aborted.user, aborted.stream, aborted.tags) == ("a", "dev", True, ("t",))
    assert (aborted.duration, aborted.status, aborted.usage.total_tokens) == (None, None, None)
    assert (aborted.quota_windows, aborted.quota_tokens) == ((), None)


def test_opened_calls_are_charged_their_estimated_input() -> None:
    permit = Permit(windows=("user:dev:day:2026-11-24",), tokens=500, input_tokens=40)

    aborted = msgspec.structs.replace(opened("a"), permit=permit).left()

    assert (aborted.quota_windows, aborted.quota_tokens) == (permit.windows, 40)
