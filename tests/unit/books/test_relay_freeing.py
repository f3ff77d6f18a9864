from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from llm_one_api.books.relay.freeing import Freeing
from llm_one_api.stores.journal.segments import Name
from tests.harness.calls import Clock


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
