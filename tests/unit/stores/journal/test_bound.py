"""More waits in the folder than `journal.max_bytes`: no new call gets in, what has begun is finished, losses told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llm_one_api.stores.journal.entries import Closed, Ended, Lost, Opened
from llm_one_api.stores.journal.segments import ACKED, list_segments, measure
from llm_one_api.stores.journal.writer import _MOST_WAITING, Journal
from tests.harness.calls import AT, Clock, entries, kill, opened, record


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def journal(**options: object) -> Journal:
        made.append(Journal(tmp_path, **{"clock": clock, "now": lambda: AT, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield journal
    for each in made:
        kill(each)


def names(folder: Path, kind: type[Opened | Closed | Ended]) -> list[str]:
    found = [entry for entry in entries(folder) if isinstance(entry, kind)]
    return [entry.request_id if isinstance(entry, Opened) else entry.record.request_id for entry in found]


def losses(folder: Path) -> list[int]:
    return [entry.records for entry in entries(folder) if isinstance(entry, Lost)]


def test_what_waits_is_measured_without_what_is_acked(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("a"))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.seg"))
    (tmp_path / ACKED).mkdir()
    (tmp_path / ACKED / f"{'0' * 32}.000000.seg").write_bytes(b"x" * 1000)
    (tmp_path / "relay.lock").write_text("1")

    assert measure(tmp_path) == (size, 1)
    assert measure(tmp_path / ACKED) == (1000, 1)
    assert measure(tmp_path / "not there") == (0, 0)


def test_beyond_the_bound_no_new_call_is_written_and_each_is_counted(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make()
    journal.limit(over=True)

    for number in range(5):
        journal.open(opened(str(number)))
        journal.close(record(str(number)))

    assert journal.full
    assert (journal.lost, journal.open_calls) == (5, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_had_begun_is_finished_beyond_the_bound(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.open(opened("counted later"))
    journal.open(opened("a"))
    journal.limit(over=True)

    journal.end(record("counted later", 0))
    journal.close(record("a"))
    journal.close(record("counted later"))

    assert names(tmp_path, Ended) == ["counted later"]
    assert names(tmp_path, Closed) == ["a", "counted later"]
    assert journal.lost == 0


def test_a_call_that_was_admitted_beyond_the_bound_is_kept_if_there_is_room_by_its_end(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make()
    journal.limit(over=True)
    journal.open(opened("a"))
    journal.open(opened("counted later"))
    journal.end(record("counted later", 0))

    journal.limit(over=False)
    journal.close(record("a"))
    journal.close(record("counted later"))

    assert not journal.full
    assert names(tmp_path, Opened) == names(tmp_path, Ended) == []
    assert names(tmp_path, Closed) == ["a", "counted later"]
    assert journal.lost == 0


def test_losses_are_told_in_the_journal_once(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    journal.limit(over=True)
    for number in range(3):
        journal.close(record(str(number)))

    journal.sync()
    journal.sync()
    journal.close(record("one more"))
    untold = journal.lost_untold
    journal.shut()

    assert losses(tmp_path) == [3, 1]
    assert [entry.at for entry in entries(tmp_path) if isinstance(entry, Lost)] == [AT, AT]
    assert (journal.lost, untold, journal.lost_untold) == (4, 1, 0)


def test_losses_of_a_full_disk_are_told_when_it_has_room(
    make: Callable[..., Journal], tmp_path: Path, clock: Clock
) -> None:
    room = True

    def write(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(ENOSPC, "No space left on device")
        return os.write(fd, data)

    journal = make(write=write)
    journal.open(opened("a"))
    room = False
    for number in range(_MOST_WAITING + 7):
        journal.close(record(str(number)))
    journal.sync()
    told_while_full = losses(tmp_path)
    room = True
    clock.now += 1
    journal.sync()

    assert told_while_full == []
    assert losses(tmp_path) == [7]
    assert len(names(tmp_path, Closed)) == _MOST_WAITING


def test_what_a_full_disk_refuses_to_the_end_is_lost_and_said_so(make: Callable[..., Journal]) -> None:
    def write(_fd: int, _data: bytes) -> int:
        raise OSError(ENOSPC, "No space left on device")

    journal = make(write=write)
    journal.close(record("a"))
    journal.close(record("b"))

    with capture_logs() as logs:
        journal.shut()

    assert journal.lost == 2
    assert [(line["event"], line["lost"]) for line in logs] == [("journal.trouble", 2)]


def test_beyond_the_bound_the_present_segment_ends_so_that_it_can_leave(
    make: Callable[..., Journal], tmp_path: Path
) -> None:
    journal = make()
    journal.open(opened("a"))
    journal.open(opened("b"))
    journal.close(record("a"))
    before = list_segments(tmp_path)

    journal.limit(over=True)
    journal.sync()
    journal.sync()
    journal.limit(over=True)
    journal.sync()

    after = list_segments(tmp_path)
    assert len(before) == 1
    assert after == [before[0], before[0].next]  # without news it is not done again
    assert names(tmp_path, Opened).count("b") == 2


def test_beyond_the_bound_for_hours_there_are_few_segments_though_losses_are_told(
    make: Callable[..., Journal], tmp_path: Path, clock: Clock
) -> None:
    journal = make()
    journal.close(record("first"))

    for second in range(3600):
        if second % 5 == 0:
            journal.limit(over=True)
        journal.close(record(str(second)))
        journal.sync()
        clock.now += 1

    assert journal.lost == sum(losses(tmp_path)) == 3600
    assert len(list_segments(tmp_path)) < 20


def test_a_segment_that_has_grown_beyond_the_bound_ends_again(make: Callable[..., Journal], tmp_path: Path) -> None:
    journal = make()
    for number in range(200):
        journal.open(opened(str(number)))
    journal.limit(over=True)
    journal.sync()
    for number in range(150):
        journal.close(record(str(number)))

    journal.limit(over=True)
    journal.sync()

    assert len(list_segments(tmp_path)) == 3


def test_it_is_said_when_it_begins_and_when_there_is_room_again(make: Callable[..., Journal], clock: Clock) -> None:
    journal = make()
    journal.open(opened("a"))

    with capture_logs() as logs:
        journal.limit(over=True)
        for _ in range(100):
            journal.close(record("lost"))
            journal.sync()
            clock.now += 0.5
        journal.limit(over=False)
        journal.sync()

    said = [(line["event"], line.get("error")) for line in logs]
    assert said[0] == ("journal.trouble", "more waits than journal.max_bytes")
    assert said[-1] == ("journal.recovered", None)
    assert 3 < len(said) < 10
    assert logs[-1]["lost"] == 100


def test_a_loss_knows_when_it_was_told(make: Callable[..., Journal], tmp_path: Path) -> None:
    times = iter([AT, AT + timedelta(hours=1)])
    journal = make(now=lambda: next(times))
    journal.limit(over=True)

    for name in "ab":
        journal.close(record(name))
        journal.sync()

    assert [entry for entry in entries(tmp_path) if isinstance(entry, Lost)] == [
        Lost(records=1, at=AT),
        Lost(records=1, at=AT + timedelta(hours=1)),
    ]
