"""Where exports go. A file is written under a temporary name and put in its place when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from llm_one_api.books.reports.export.manifest import File

STALE_AFTER = 24 * 60 * 60
"""Seconds after which nobody is writing a temporary file any more: whoever did was killed."""
PIECE = 2**20
_TEMPORARY = re.compile(r"\.export-(\d{1,12})-[0-9a-f]{32}\.tmp", re.ASCII)


class TargetError(OSError):
    """The target cannot be used. The text says why, and holds no secret."""


class Draft(Protocol):
    """A file that is being written, under a temporary name. It is put in place or dropped."""

    def write(self, data: bytes) -> None:
        """Add to it."""

    def finish(self) -> None:
        """Have it written, whole, as far as the target can promise that."""

    def put(self, name: str) -> None:
        """Give it its name, in place of what had it."""

    def drop(self) -> None:
        """Take it away."""


class Target(Protocol):
    """A place for files. All raise TargetError."""

    @property
    def where(self) -> str:
        """Name it for people, without secrets."""

    @property
    def is_near(self) -> bool:
        """Whether all that is there can be read at no cost."""

    def names(self) -> list[str]:
        """Name the files that are there; none where the place itself is not."""

    def read(self, name: str) -> bytes | None:
        """Read a small file; None: there is none."""

    def size(self, name: str) -> int | None:
        """Tell how many bytes a file has; None: there is none."""

    def sha256(self, name: str) -> str | None:
        """Read a file, and give the digest of what is in it; None: there is none."""

    def has(self, file: File, told: File | None) -> bool:
        """Tell whether *file* is there as it should be; *told* is what its manifest says of it."""

    def draft(self) -> Draft:
        """Begin a file."""

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""


def temporary_name(now: float | None = None) -> str:
    """Make the name of a file that is being written."""
    return f".export-{int(time.time() if now is None else now)}-{uuid.uuid4().hex}.tmp"


def stale(names: Iterable[str], now: float) -> list[str]:
    """Tell which of *names* are temporary files that were left behind."""
    found = ((name, _TEMPORARY.fullmatch(name)) for name in names)
    return [name for name, match in found if match and now - int(match[1]) > STALE_AFTER]


def digest(file: IO[bytes]) -> str:
    """Read a file to its end, a piece at a time."""
    sha = hashlib.sha256()
    while piece := file.read(PIECE):
        sha.update(piece)
    return sha.hexdigest()


class Folder:
    """A folder of this machine. Made when it is first written to."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self._path = path

    @property
    def where(self) -> str:
        """Give the path."""
        return str(self._path)

    @property
    def is_near(self) -> bool:
        """It is a disk."""
        return True

    def names(self) -> list[str]:
        """Name the files that are there."""
        with self._telling():
            try:
                return sorted(entry.name for entry in os.scandir(self._path) if entry.is_file())
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        """Read a small file."""
        with self._telling(name):
            try:
                return (self._path / name).read_bytes()
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Tell how many bytes a file has."""
        with self._telling(name):
            try:
                return (self._path / name).stat().st_size
            except FileNotFoundError:
                return None

    def sha256(self, name: str) -> str | None:
        """Give a file's digest."""
        with self._telling(name):
            try:
                with (self._path / name).open("rb") as file:
                    return digest(file)
            except FileNotFoundError:
                return None

    def has(self, file: File, told: File | None) -> bool:  # noqa: ARG002 (what is there can be looked at)
        """Look at what is in it."""
        return self.size(file.name) == file.bytes and self.sha256(file.name) == file.sha256

    def draft(self) -> FolderDraft:
        """Begin a file."""
        with self._telling():
            # Who else may look is for whoever makes it beforehand to say.
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return FolderDraft(self._path)

    def remove(self, name: str) -> None:
        """Take a file away."""
        with self._telling(name):
            (self._path / name).unlink(missing_ok=True)

    @contextmanager
    def _telling(self, name: str = "") -> Iterator[None]:
        with telling(self._path / name):
            yield


class FolderDraft:
    """A file with a temporary name, in the folder that it will stay in."""

    def __init__(self, folder: Path) -> None:
        """Make it."""
        self._folder = folder
        self._path = folder / temporary_name()
        # For its owner, and the folder's group.
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb")

    def write(self, data: bytes) -> None:
        """Add to it."""
        with telling(self._path):
            self._file.write(data)

    def finish(self) -> None:
        """Have it on the disk."""
        with telling(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def put(self, name: str) -> None:
        """Give it its name; what had it is there until then, and never anything between."""
        with telling(self._folder / name):
            self._path.replace(self._folder / name)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def drop(self) -> None:
        """Take it away."""
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written is not wanted any more
        with telling(self._path):
            self._path.unlink(missing_ok=True)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Say which file or folder it was."""
    try:
        yield
    except TargetError:
        raise
    except OSError as error:
        full = " (make room; the export is tried again)" if error.errno == errno.ENOSPC else ""
        raise TargetError(f"{path}: {error.strerror or type(error).__name__}{full}") from None
