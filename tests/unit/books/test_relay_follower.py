from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.books.relay.follower import Follower, Place, Segment
from llm_one_api.stores.journal.entries import Closed, Entry, Opened
from llm_one_api.stores.journal.segments import Name, list_segments
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import kill, opened, record


class Seen:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def saw(self, segment: Segment, start: int, end: int, entry: Entry) -> None:
        if isinstance(entry, Opened):
            self.events.append(f"open {entry.request_id}")
        elif isinstance(entry, Closed):
            self.events.append(f"close {entry.record.request_id}")

    def ended(self, segment: Segment) -> None:
        self.events.append(f"end {segment.name.number}")

    def died(self, last: Segment, left: list[Place]) -> None:
        self.events.append(f"died {last.name.number} {len(left)}")

    def unread(self, segment: Segment, left: list[Place]) -> None:
        self.events.append(f"unread {segment.name.number} {len(left)}")


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, segment_bytes=1)  # each entry begins a segment
    yield journal
    kill(journal)


def follow(follower: Follower) -> None:
    while follower.follow(urgent=True):
        pass


def test_what_a_writer_did_is_seen_in_its_order(journal: Journal, seen: Seen, tmp_path: Path) -> None:
    journal.open(opened("a"))
    journal.open(opened("b"))
    journal.close(record("a"))
    kill(journal)

    follow(Follower(tmp_path, seen))

    assert seen.events == [
        *["open a", "end 0"],
        *["open a", "open b", "end 1"],
        *["open b", "close a", "end 2"],
        "died 2 1",
    ]


@pytest.mark.parametrize("hidden", [{0}, {1}, {0, 1}, {1, 2}, {3}])
def test_a_segment_that_a_listing_left_out_is_read_in_its_turn(
    journal: Journal, seen: Seen, tmp_path: Path, hidden: set[int]
) -> None:
    listings = 0

    def listing(folder: Path) -> list[Name]:  # what happens when a file is renamed while the folder is read
        nonlocal listings
        listings += 1
        names = list_segments(folder)
        return names if listings > 1 else [name for name in names if name.number not in hidden]

    journal.open(opened("a"))
    journal.close(record("b"))
    journal.close(record("a"))
    journal.close(record("c"))
    kill(journal)
    follower = Follower(tmp_path, seen, listing=listing)

    follow(follower)
    follow(follower)

    assert seen.events[-1] == "died 3 0"
    assert [event for event in seen.events if event.startswith("close")] == ["close b", "close a", "close c"]


def test_a_writer_is_not_taken_for_dead_between_two_segments(journal: Journal, seen: Seen, tmp_path: Path) -> None:
    follower = Follower(tmp_path, seen)
    for number in range(20):
        journal.open(opened(str(number)))
        follower.follow(urgent=True)

    assert not [event for event in seen.events if event.startswith("died")]


def test_the_earlier_copies_of_a_call_hold_no_segment(journal: Journal, seen: Seen, tmp_path: Path) -> None:
    for name in "abc":
        journal.open(opened(name))
    follower = Follower(tmp_path, seen)

    follow(follower)

    (writer,) = follower.writers.values()
    assert [segment.holds for segment in writer.segments] == [0, 0, 3]
