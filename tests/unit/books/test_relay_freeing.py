from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.relay import Relay
from llm_one_api.books.relay.freeing import Freeing
from llm_one_api.stores.journal.segments import ACKED, Name, list_segments
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import Clock, Sink, kill, record, settle


def acked(folder: Path, number: int, *, size: int = 100, hours: float = 0) -> Path:
    path = folder / "acked" / str(Name("0" * 32, number))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - hours * 3600, time.time() - hours * 3600))
    return path


def test_acked_segments_are_kept_for_some_hours(tmp_path: Path) -> None:
    old, new = acked(tmp_path, 0, hours=25), acked(tmp_path, 1, hours=23)

    Freeing(tmp_path, keep_hours=24).prune()

    assert (old.exists(), new.exists()) == (False, True)


def test_of_too_many_acked_segments_the_newest_are_kept(tmp_path: Path) -> None:
    paths = [acked(tmp_path, number, hours=10 - number) for number in range(5)]

    Freeing(tmp_path, keep_bytes=250).prune()

    assert [path.exists() for path in paths] == [False, False, False, True, True]


def test_on_a_disk_that_is_nearly_full_none_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = acked(tmp_path, 0)
    usual = os.statvfs(tmp_path)
    blocks = (50 << 20) // usual.f_frsize
    nearly_full = os.statvfs_result([*usual[:3], blocks, blocks, *usual[5:]])
    monkeypatch.setattr(os, "statvfs", lambda _: nearly_full)

    Freeing(tmp_path).prune()

    assert not path.exists()


def test_it_looks_every_few_seconds(tmp_path: Path) -> None:
    clock = Clock()
    freeing = Freeing(tmp_path, keep_hours=1, clock=clock)
    freeing.prune()
    old = acked(tmp_path, 0, hours=2)

    freeing.prune()
    kept = old.exists()
    clock.now += 6
    freeing.prune()

    assert kept
    assert not old.exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    acked(tmp_path, 0)
    note = tmp_path / "acked" / "README"
    note.touch()

    Freeing(tmp_path, keep_bytes=0).prune()

    assert list((tmp_path / "acked").iterdir()) == [note]


def test_it_goes_on_when_somebody_has_removed_the_folder_of_acked_segments(tmp_path: Path) -> None:
    sink, clock = Sink(), Clock()
    relay = Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, clock=clock)
    settle(relay)
    shutil.rmtree(tmp_path / ACKED)
    journal = Journal(tmp_path)
    journal.close(record("a"))
    kill(journal)

    clock.now += 6
    relay.turn(urgent=True)
    settle(relay)

    assert sink.ids == ["a"]
    assert list_segments(tmp_path) == []
    assert len(list_segments(tmp_path / ACKED)) == 1


def test_it_goes_on_when_somebody_removes_acked_segments_while_it_looks_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = acked(tmp_path, 0, hours=25), acked(tmp_path, 1)
    gone = acked(tmp_path, 2)
    monkeypatch.setattr("llm_one_api.books.relay.freeing.list_segments", _and_removes(gone))
    freeing = Freeing(tmp_path, keep_hours=24)

    freeing.prune()

    assert (old.exists(), new.exists()) == (False, True)
    assert freeing.acked_bytes == 100


def test_what_cannot_be_deleted_is_said_now_and_then_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    clock = Clock()
    acked(tmp_path, 0, hours=25)
    freeing = Freeing(tmp_path, clock=clock)
    monkeypatch.setattr(Path, "unlink", refused)

    with capture_logs() as logs:
        for _ in range(4):
            freeing.prune()
            clock.now += 6

    assert [line["event"] for line in logs] == ["relay.cannot_free"] * 2


def _and_removes(path: Path) -> Callable[[Path], list[Name]]:
    def listing(folder: Path) -> list[Name]:
        names = list_segments(folder)
        path.unlink(missing_ok=True)
        return names

    return listing
