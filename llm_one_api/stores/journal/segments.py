"""The files of a journal folder: their names, how one comes into being, and how a dead writer's is told.

`<writer>.<number>.seg`    a segment; its writer holds an exclusive flock on the newest of its own
`.<writer>.<number>.seg`   one that is being made; nobody reads it
`acked/`                   segments whose records all stand in the ledger, since the time that is a segment's mtime
`relay/`                   what the relay tells of itself (`status.py`)
`journal.id`               whose journal this is: names the list of acknowledgements
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ACKED = "acked"
_NAME = re.compile(r"([0-9a-f]{32})\.(\d{6,})\.seg")
_LEFTOVER_AGE = 60.0


class Name(NamedTuple):
    """Which segment: the numbers of one writer count up from 0 without gaps."""

    writer: str
    number: int

    def __str__(self) -> str:
        return f"{self.writer}.{self.number:06d}.seg"

    @property
    def next(self) -> Name:
        """The one that its writer made after it, or will make."""
        return Name(self.writer, self.number + 1)

    @property
    def previous(self) -> Name:
        """The one that its writer made before it, unless it is the first."""
        return Name(self.writer, self.number - 1)


def parse(file_name: str) -> Name | None:
    """Read a file's name; None: not a segment."""
    match = _NAME.fullmatch(file_name)
    return Name(match[1], int(match[2])) if match else None


def list_segments(folder: Path) -> list[Name]:
    """Name the segments in *folder*, each writer's in their order; one that appears meanwhile may be left out."""
    return sorted(name for file in os.listdir(folder) if (name := parse(file)))  # noqa: PTH208 (called often)


class Waiting(NamedTuple):
    """How much there is in a folder of segments."""

    bytes: int
    segments: int


def measure(folder: Path) -> Waiting:
    """Measure the segments in *folder* itself; nothing, if it is not there."""
    size = count = 0
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            if parse(file.name):
                with suppress(FileNotFoundError):  # acked meanwhile
                    size += file.stat().st_size
                    count += 1
    return Waiting(size, count)


def create(folder: Path, name: Name, content: bytes, write: Callable[[int, bytes], int]) -> int:
    """Make a segment that begins with *content* and appears whole and locked, or not at all; returns its descriptor.

    Raises OSError.
    """
    hidden, path = folder / f".{name}", folder / str(name)
    fd = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if content and write(fd, content) != len(content):
            raise OSError(errno.ENOSPC, "short write", str(hidden))  # noqa: TRY301 (one way out for all faults)
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


def is_released(path: Path) -> bool:
    """Tell whether no process holds the segment at *path* any more.

    A writer holds its newest one only: it is dead if that is released and, looked for afterwards, no newer is there.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def sync_path(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_and_close(fds: list[int], folder: Path | None) -> None:
    """Bring files to the disk, and *folder*'s list of names after them. Tries each, then raises the last OSError."""
    failed: OSError | None = None
    for fd in fds:
        try:
            os.fsync(fd)
        except OSError as error:
            failed = error
        finally:
            os.close(fd)
    if folder:
        sync_path(folder)
    if failed:
        raise failed


def remove_leftovers(folder: Path) -> None:
    """Remove what writers left half made when they died."""
    for path in folder.glob(".*.seg"):
        try:
            if time.time() - path.stat().st_mtime > _LEFTOVER_AGE and is_released(path):
                path.unlink()
        except FileNotFoundError:
            continue


def prepare(folder: Path) -> None:
    """Make the folder, for our own eyes only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def journal_id(folder: Path) -> str:
    """Read the journal's own name, giving it one the first time."""
    path = folder / "journal.id"
    while True:
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            draft = folder / f".{uuid.uuid4().hex}.id"
            try:
                draft.write_text(uuid.uuid4().hex + "\n")
                path.hardlink_to(draft)  # unlike a rename, it never replaces a name that another process gave
            except FileExistsError:
                pass
            finally:
                draft.unlink(missing_ok=True)
