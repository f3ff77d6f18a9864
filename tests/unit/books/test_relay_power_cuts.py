"""Each fsync policy keeps what it promises: through a power cut at any moment, rotations, and a relay that frees."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.books.relay import Relay
from llm_one_api.stores.journal.segments import ACKED, list_segments
from llm_one_api.stores.journal.writer import FsyncPolicy, Journal
from tests.harness.calls import Sink, entries, kill, opened, record, settle
from tests.harness.power import Disk


class Site:
    """A journal, its relay and a ledger, on a disk whose power can be cut; the ledger is elsewhere."""

    def __init__(self, root: Path, policy: FsyncPolicy, **options: object) -> None:
        self.root = root
        self.folder = root / "journal"
        self.disk = Disk(self.folder, self.folder / ACKED)
        self.journal = Journal(self.folder, fsync=policy, **options)  # type: ignore[arg-type]
        self.sink = Sink()
        self.relay: Relay | None = None
        self._cuts = 0

    def turn(self) -> None:
        """Let the relay do what it can."""
        if self.relay is None:
            self.folder.mkdir(exist_ok=True)
            self.relay = Relay(self.folder, publish=self.sink.publish, take_acks=self.sink.take_acks)
        settle(self.relay)

    def after_a_cut(self, chance: random.Random | None = None) -> dict[str, str]:
        """Tell what the ledger comes to have of each call: what came first, before the cut or after it."""
        self._cuts += 1
        left = self.root / f"left-{self._cuts}"
        self.disk.cut(left, chance)
        after = Sink()
        settle(Relay(left, publish=after.publish, take_acks=after.take_acks))
        assert list_segments(left) == []
        come: dict[str, str] = {}
        for _, records, _ in [*self.sink.batches, *after.batches]:
            for each in records:
                come.setdefault(each.request_id, each.outcome)
        return come


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(policy: FsyncPolicy, **options: object) -> Site:
        made.append(Site(tmp_path, policy, **options))
        return made[-1]

    yield make
    for each in made:
        kill(each.journal)


OPERATION = st.sampled_from(["open", "open", "end", "close", "close", "reject", "rotate", "sync", "relay"])


@settings(max_examples=100, deadline=None)
@given(
    policy=st.sampled_from(["always", "interval"]),
    operations=st.lists(OPERATION, min_size=1, max_size=25),
    which=st.integers(0, 9),
    seed=st.none() | st.integers(0, 2**32),
)
def test_nothing_is_lost_that_was_brought_to_the_disk(
    policy: FsyncPolicy, operations: list[str], which: int, seed: int | None
) -> None:
    with TemporaryDirectory() as name:
        site = Site(Path(name), policy)
        going: list[str] = []
        done: list[str] = []
        safely_done: set[str] = set()
        safely_begun: set[str] = set()
        with site.disk.powered():
            for number, operation in enumerate(operations):
                if operation == "open":
                    going.append(f"call-{number}")
                    site.journal.open(opened(going[-1]))
                elif operation == "end" and going:
                    site.journal.end(record(going[which % len(going)]))
                elif operation == "close" and going:
                    done.append(going.pop(which % len(going)))
                    site.journal.close(record(done[-1]))
                elif operation == "reject":
                    done.append(f"call-{number}")
                    site.journal.close(record(done[-1]))
                elif operation == "rotate":
                    site.journal._renew_at = 0.0
                elif operation == "relay":
                    site.turn()
                elif operation == "sync":
                    site.journal.sync()
                if operation == "sync" or policy == "always":
                    safely_done, safely_begun = {*done}, {*done, *going}
            come = site.after_a_cut(None if seed is None else random.Random(seed))
        kill(site.journal)

        assert safely_done <= {who for who, outcome in come.items() if outcome == "success"}
        assert safely_begun <= set(come)
        assert set(come) <= {*done, *going}


def test_with_always_a_call_whose_end_was_seen_is_never_lost_through_rotations(site: Callable[..., Site]) -> None:
    it = site("always", segment_bytes=1500)
    seen: dict[str, str] = {}
    with it.disk.powered():
        it.journal.open(opened("long"))
        for number in range(12):
            it.journal.open(opened(str(number)))
            it.journal.close(record(str(number)))
            seen[str(number)] = "success"

            come = it.after_a_cut()

            assert come == {"long": "aborted", **seen}
    assert len(list_segments(it.folder)) > 3


def test_with_always_one_call_does_not_count_on_what_another_is_still_about_to_sync(site: Callable[..., Site]) -> None:
    begun: list[str] = []
    come: dict[str, str] = {}

    def offload(blocking: Callable[[], None]) -> None:
        begun.append("a sync")
        if len(begun) == 1:
            it.journal.close(record("second"))  # while the first one's sync has yet to begin
            come.update(it.after_a_cut())
        blocking()

    it = site("always", offload=offload)
    with it.disk.powered():
        it.journal.close(record("first"))

    assert come["second"] == "success"


def test_with_interval_a_cut_costs_what_came_since_the_last_sync_and_no_more(site: Callable[..., Site]) -> None:
    it = site("interval", segment_bytes=1500)
    with it.disk.powered():
        for number in range(10):
            it.journal.open(opened(str(number)))
            it.journal.close(record(str(number)))
        it.journal.open(opened("open before"))
        it.journal.sync()
        for number in range(10, 20):
            it.journal.open(opened(str(number)))
            it.journal.close(record(str(number)))

        come = it.after_a_cut()

    assert come == {**{str(number): "success" for number in range(10)}, "open before": "aborted"}


def test_with_interval_nothing_waits_for_a_sync(site: Callable[..., Site]) -> None:
    it = site("interval", segment_bytes=1500)
    with it.disk.powered():
        for number in range(10):
            it.journal.open(opened(str(number)))
            it.journal.close(record(str(number)))

    assert it.disk.syncs == 0


def test_an_open_call_outlives_a_cut_after_the_segment_that_it_began_in_was_freed(site: Callable[..., Site]) -> None:
    it = site("interval")
    with it.disk.powered():
        it.journal.open(opened("long"))
        it.journal.sync()
        it.journal._renew_at = 0.0
        it.journal.close(record("short"))  # in the second segment, which nobody has synced yet
        it.turn()
        freed = len(list_segments(it.folder)) == 1

        worst = it.after_a_cut()
        by_chance = [it.after_a_cut(random.Random(seed)) for seed in range(20)]

    assert freed
    assert worst["long"] == "aborted"
    assert all(come["long"] == "aborted" for come in by_chance)


def test_with_never_a_killed_process_loses_nothing_and_nothing_is_synced(site: Callable[..., Site]) -> None:
    it = site("never", segment_bytes=1500)
    with it.disk.powered():
        it.journal.open(opened("long"))
        for number in range(10):
            it.journal.open(opened(str(number)))
            it.journal.close(record(str(number)))
            it.journal.sync()
        syncs = it.disk.syncs
        kill(it.journal)
        it.turn()

    assert syncs == 0
    assert {who: each.outcome for who, each in it.sink.records.items()} == {
        "long": "aborted",
        **{str(number): "success" for number in range(10)},
    }


def test_after_a_sync_that_failed_what_comes_later_is_as_safe_as_ever(site: Callable[..., Site]) -> None:
    it = site("always")
    with it.disk.powered():
        it.journal.open(opened("long"))
        it.disk.broken = True
        it.journal.close(record("in doubt"))
        it.disk.broken = False
        it.journal.close(record("after"))

        come = it.after_a_cut()

    assert come.pop("in doubt", "success") == "success"
    assert come == {"long": "aborted", "after": "success"}
    assert len(entries(it.folder)) > 4
