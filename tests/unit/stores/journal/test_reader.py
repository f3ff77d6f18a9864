from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from llm_one_api.stores.journal.entries import Closed, Opened, framed
from llm_one_api.stores.journal.framing import frame
from llm_one_api.stores.journal.lock import relay_is_running, take_relay_lock
from llm_one_api.stores.journal.reader import SegmentReader, read_stretch
from llm_one_api.stores.journal.segments import (
    Name,
    create,
    journal_id,
    list_segments,
    remove_leftovers,
)
from tests.harness.calls import opened, record


def ids(found: list[object]) -> list[str]:
    entries = [item.entry for item in found]  # type: ignore[attr-defined]
    return [entry.request_id if isinstance(entry, Opened) else entry.record.request_id for entry in entries]


def test_a_growing_segment_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    data = framed(opened("a")) + framed(Closed(record=record("a")))
    reader = SegmentReader(path)
    seen: list[object] = []

    for end in range(0, len(data) + 1, 7):
        path.write_bytes(data[:end])
        seen += reader.read(final=False)
    path.write_bytes(data)
    seen += reader.read(final=True)

    assert ids(seen) == ["a", "a"]
    assert (reader.done, reader.corrupt, reader.torn) == (True, 0, 0)


def test_a_segment_longer_than_a_piece_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"".join(framed(opened(str(number))) for number in range(100)))
    reader = SegmentReader(path, chunk=1000)
    pieces = []

    while not reader.done:
        pieces.append(ids(list(reader.read(final=True))))

    assert [each for piece in pieces for each in piece] == [str(number) for number in range(100)]
    assert len(pieces) > 10


def test_an_entry_longer_than_a_piece_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(framed(opened("x" * 5000)) + framed(opened("after")))
    reader = SegmentReader(path, chunk=100)
    seen: list[object] = []

    while not reader.done:
        seen += reader.read(final=True)

    assert ids(seen) == ["x" * 5000, "after"]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\xa4type\xa3new",
        msgspec.msgpack.encode({"type": "open", "request_id": "?"}).replace(b"?", b"\xff"),
        msgspec.msgpack.encode({"type": "open"}).replace(b"\x81", b"\x82") + b"\xa1x" + b"\x91" * 5000,
    ],
    ids=["unknown", "no UTF-8", "without a bottom"],
)
def test_an_entry_that_means_nothing_to_us_is_counted_and_stepped_over(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "segment"
    path.write_bytes(framed(opened("a")) + frame(payload) + framed(opened("b")))
    reader = SegmentReader(path)

    assert ids(list(reader.read(final=True))) == ["a", "b"]
    assert reader.corrupt == 1


def test_a_torn_end_is_not_yet_one_while_the_writer_lives(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(framed(opened("a"))[:-1])
    reader = SegmentReader(path)

    assert reader.read(final=False) == []
    assert reader.torn == 0
    assert reader.read(final=True) == []
    assert (reader.torn, reader.done) == (1, True)


def test_a_stretch_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"".join(framed(opened(name)) for name in "abcd"))
    _, second, third, _ = SegmentReader(path).read(final=True)

    found = read_stretch(path, second.start, third.end)

    assert found == [second, third]
    assert [one.entry for one in found] == [opened("b"), opened("c")]


def test_other_files_are_not_taken_for_segments(tmp_path: Path) -> None:
    name = Name("0123456789abcdef" * 2, 7)
    for file in [str(name), f".{name.next}", "relay.lock", "x.seg", f"{name}.bak"]:
        (tmp_path / file).touch()

    assert list_segments(tmp_path) == [name]


def test_what_a_dead_writer_left_half_made_is_removed_when_it_is_old(tmp_path: Path) -> None:
    held, old, new = (tmp_path / f".{Name('0' * 32, number)}" for number in range(3))
    lock = create(tmp_path, Name("1" * 32, 0), b"", os.write)
    (tmp_path / str(Name("1" * 32, 0))).rename(held)
    for path in [old, new]:
        path.touch()
    for path in [held, old]:
        os.utime(path, (time.time() - 100, time.time() - 100))

    remove_leftovers(tmp_path)

    assert sorted(tmp_path.iterdir()) == [held, new]
    os.close(lock)


def test_a_journal_keeps_its_name(tmp_path: Path) -> None:
    first = journal_id(tmp_path)

    assert journal_id(tmp_path) == first
    assert len(first) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["journal.id"]


def test_a_folder_has_one_relay_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert not relay_is_running(folder)

    lock = take_relay_lock(folder)

    assert lock is not None
    assert relay_is_running(folder)
    assert take_relay_lock(folder, patience=0) is None
    os.close(lock)
    assert not relay_is_running(folder)


def test_a_missing_segment_is_an_error_to_deal_with(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SegmentReader(tmp_path / "segment").read(final=True)
