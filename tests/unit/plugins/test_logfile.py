"""The log file: rotation, zones, and lines that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine

from llm_one_api.plugins.interfaces import LogFile
from llm_one_api.plugins.logfile import RotatingFile, size_of
from tests.harness.disks import at_most


@contextmanager
def opened(path: Path, rotate: str = "daily", backup_count: int = 30, zone: str = "UTC") -> Iterator[RotatingFile]:
    file = RotatingFile(LogFile(file=path, rotate=rotate, backup_count=backup_count), ZoneInfo(zone))
    try:
        yield file
    finally:
        file.close()


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("zone", "before_midnight", "day"),
    [
        ("UTC", datetime(2025, 11, 12, 23, 59, 59, tzinfo=UTC), "2025-11-12"),
        ("Asia/Shanghai", datetime(2025, 11, 12, 15, 59, 59, tzinfo=UTC), "2025-11-12"),
        ("America/New_York", datetime(2025, 11, 13, 4, 59, 59, tzinfo=UTC), "2025-11-12"),
        # The clock went back on this day (25 hours), and here forward (23 hours).
        ("America/New_York", datetime(2025, 11, 3, 4, 59, 59, tzinfo=UTC), "2025-11-02"),
        ("America/New_York", datetime(2025, 3, 10, 3, 59, 59, tzinfo=UTC), "2025-03-09"),
        # Midnight itself was skipped on the next day: it began at 01:00.
        ("Africa/Cairo", datetime(2024, 4, 25, 21, 59, 59, tzinfo=UTC), "2024-04-25"),
    ],
)
@pytest.mark.parametrize("opened_hours_before", [0, 30])
def test_daily_means_midnight_in_the_configured_zone(
    tmp_path: Path, zone: str, before_midnight: datetime, day: str, opened_hours_before: int
) -> None:
    with (
        time_machine.travel(before_midnight.timestamp() - 60, tick=False) as clock,
        opened(tmp_path / "x.log", zone=zone) as file,
    ):
        file.write("opened")
        clock.move_to(before_midnight)
        file.write("the day's last")
        clock.shift(1)
        file.write("the next day's first")

    assert files(tmp_path) == {f"x.log.{day}": "opened\nthe day's last\n", "x.log": "the next day's first\n"}


def test_a_file_from_days_ago_keeps_the_name_of_its_day(tmp_path: Path) -> None:
    with time_machine.travel("2025-11-12T10:00:00Z", tick=False), opened(tmp_path / "x.log") as file:
        file.write("old")

    with time_machine.travel("2025-11-20T10:00:00Z", tick=False), opened(tmp_path / "x.log") as file:
        file.write("new")

    assert files(tmp_path) == {"x.log.2025-11-12": "old\n", "x.log": "new\n"}


def test_a_process_that_opened_before_midnight_does_not_rotate_again(tmp_path: Path) -> None:
    path = tmp_path / "x.log"

    with time_machine.travel("2025-11-12T23:59:00Z", tick=False) as clock, opened(path) as one, opened(path) as other:
        one.write("1")
        other.write("2")
        clock.shift(120)
        one.write("3")
        other.write("4")

    assert files(tmp_path) == {"x.log.2025-11-12": "1\n2\n", "x.log": "3\n4\n"}


def test_only_so_many_old_days_are_kept(tmp_path: Path) -> None:
    with (
        time_machine.travel("2025-11-12T12:00:00Z", tick=False) as clock,
        opened(tmp_path / "x.log", backup_count=2) as file,
    ):
        for day in range(5):
            file.write(str(day))
            clock.shift(86400)

    assert files(tmp_path) == {"x.log.2025-11-14": "2\n", "x.log.2025-11-15": "3\n", "x.log": "4\n"}


def test_a_file_rotates_when_it_has_reached_its_size_and_the_newest_old_one_is_number_1(tmp_path: Path) -> None:
    with opened(tmp_path / "x.log", rotate="size:1KB", backup_count=2) as file:
        for number in range(4):
            file.write(str(number) * 1000)

    assert {name: text[0] for name, text in files(tmp_path).items()} == {"x.log": "3", "x.log.1": "2", "x.log.2": "1"}


@pytest.mark.parametrize("rotate", ["size:1KB", "daily"])
def test_with_no_old_files_to_keep_the_live_one_begins_anew(tmp_path: Path, rotate: str) -> None:
    with (
        time_machine.travel("2025-11-12T12:00:00Z", tick=False) as clock,
        opened(tmp_path / "x.log", rotate=rotate, backup_count=0) as file,
    ):
        file.write("a" * 1000)
        clock.shift(86400)
        file.write("b")

    assert files(tmp_path) == {"x.log": "b\n"}


def test_a_gap_that_a_killed_rotation_left_costs_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.log.1").write_text("one")
    (tmp_path / "x.log.3").write_text("three")

    with opened(tmp_path / "x.log", rotate="size:1KB") as file:
        file.write("z" * 1000)
        file.write("new")

    assert files(tmp_path) == {"x.log": "new\n", "x.log.1": "z" * 1000 + "\n", "x.log.2": "one", "x.log.4": "three"}


@pytest.mark.parametrize("torn", ['{"a":1}\n{"b":', '{"b":', '{"a":1}\n' + "x" * 200_000])
def test_what_a_killed_process_left_of_a_line_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "x.log"
    path.write_text(torn)

    with opened(path) as file:
        file.write('{"c":3}')

    assert path.read_text() == torn[: torn.rfind("\n") + 1] + '{"c":3}\n'


def test_lines_that_come_together_go_into_one_file(tmp_path: Path) -> None:
    with opened(tmp_path / "x.log", rotate="size:1KB") as file:
        file.write("a" * 600, "b" * 600)
        file.write("c", "d")

    assert files(tmp_path) == {"x.log.1": "a" * 600 + "\n" + "b" * 600 + "\n", "x.log": "c\nd\n"}


def test_of_lines_that_come_together_and_find_no_room_none_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    kept = "a" * (2**20 - 31) + "\n"
    path.write_text(kept)

    with opened(path) as file:
        with at_most(2**20), pytest.raises(OSError, match="took 30 of 42 bytes"):
            file.write("b" * 20, "c" * 20)
        assert path.read_text() == kept
        file.write("d")

    assert path.read_text() == kept + "d\n"


def test_a_line_that_finds_no_room_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    kept = "a" * (2**20 - 11) + "\n"
    path.write_text(kept)

    with opened(path) as file:
        with at_most(2**20), pytest.raises(OSError, match="took 10 of 21 bytes"):
            file.write("b" * 20)
        with at_most(len(kept)), pytest.raises(OSError, match="large"):
            file.write("b" * 20)
        assert path.read_text() == kept
        file.write("c")

    assert path.read_text() == kept + "c\n"


def test_a_file_that_somebody_moved_away_is_followed_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.log"

    with opened(path) as file:
        file.write("1")
        path.rename(tmp_path / "moved")
        file.write("2")

    assert files(tmp_path) == {"moved": "1\n", "x.log": "2\n"}


def test_sizes_are_decimal_and_anything_else_is_refused() -> None:
    assert size_of("daily") is None
    assert size_of("size:100MB") == 100_000_000
    for wrong in ("hourly", "size:0MB", "size:MB", "size:5", "size:5mb", ""):
        with pytest.raises(ValueError, match="daily, or a size such as size:100MB"):
            size_of(wrong)
