"""The journal's disk, which can be filled: a small one of its own where this machine lets us mount one."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from tests.harness import disks

BYTES = 48 * 2**20
_PRIVATE = ("--mount", "--propagation", "private")
_WAYS = (("unshare", *_PRIVATE), ("unshare", "--user", "--map-root-user", *_PRIVATE))
"""As root as root does it; else as the root of a namespace, who is nobody to other users' files."""


class Disk(Protocol):
    """A disk, and how the product is started so that it is the journal's."""

    @property
    def within(self) -> Sequence[str]:
        """The command within which the product is to be started."""

    @property
    def journal(self) -> Path:
        """The journal's folder, as seen by us."""

    def fill(self) -> None:
        """Leave no room for an entry."""

    def free(self) -> None:
        """Make room again."""


class SmallDisk:
    """A file system in memory of a fixed size, in a namespace that only the product is in."""

    def __init__(self, folder: Path, within: Sequence[str], pid: Callable[[], int]) -> None:
        """It is at *folder* for the process *pid*, once that is started."""
        self._folder = folder
        self.within = within
        self._pid = pid

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def journal(self) -> Path:
        return Path(f"/proc/{self._pid()}/root{self._folder}")

    @property
    def _filler(self) -> Path:
        return self.journal / "filler"


class Limits:
    """No disk of its own: the processes that write the journal may not let a file grow."""

    within: Sequence[str] = ()

    def __init__(self, journal: Path, writers: Callable[[], list[psutil.Process]]) -> None:
        """Limit *writers*."""
        self.journal = journal
        self._writers = writers
        self._limited: list[psutil.Process] = []

    def fill(self) -> None:
        self._limited = self._writers()
        for process in self._limited:
            disks.fill(process)

    def free(self) -> None:
        for process in self._limited:
            if process.is_running():
                disks.free(process)


def disk(folder: Path, pid: Callable[[], int], writers: Callable[[], list[psutil.Process]]) -> Disk:
    """Give *folder* one, if this machine lets us; else one that *writers* alone find full."""
    folder.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={BYTES},mode=700 chaos "$0" && exec "$@"'
    for way in _WAYS:
        within = [*way, "sh", "-c", mount, str(folder)]
        try:
            works = subprocess.run([*within, "true"], capture_output=True).returncode == 0
        except OSError:
            works = False
        if works:
            return SmallDisk(folder, within, pid)
    return Limits(folder, writers)
