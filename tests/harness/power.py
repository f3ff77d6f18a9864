"""A power cut without one: what was brought to a disk is written down, and what a cut may leave of it is made anew."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

_fsync = os.fsync


class Disk:
    """Knows of the files in some folders what is on the disk for certain: what was there at the last fsync of each.

    A file's content is there as it was when that file was synced, a name as it was when its folder was. All else may be
    there or not, in part or whole; the kernel writes as it likes, and in any order.
    """

    def __init__(self, *folders: Path) -> None:
        """Look at *folders*, the first of which is a journal's."""
        self._folders = folders
        self._content: dict[int, bytes] = {}
        self._names: dict[int, tuple[Path, str]] = {}
        self.syncs = 0
        self.broken = False
        """Nothing more can be synced."""

    @contextmanager
    def powered(self) -> Iterator[None]:
        """Write down each fsync of the block."""
        with patch.object(os, "fsync", self._sync):
            yield

    def _sync(self, fd: int) -> None:
        found, path = os.fstat(fd), Path(f"/proc/self/fd/{fd}").readlink()
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        _fsync(fd)
        if not {path, path.parent} & {*self._folders}:
            return  # what was made of a cut
        self.syncs += 1
        if not stat.S_ISDIR(found.st_mode):
            self._content[found.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()
            return
        self._names = {inode: place for inode, place in self._names.items() if place[0] != path}
        for file in path.iterdir():
            if file.is_file():
                self._names[file.stat().st_ino] = (path, file.name)

    def cut(self, folder: Path, chance: random.Random | None = None) -> None:
        """Make *folder* what a cut now leaves of the journal's; without *chance* what is certain, and no more."""
        now = {
            file.stat().st_ino: (at, file.name)
            for at in self._folders
            if at.exists()
            for file in at.iterdir()
            if file.is_file()
        }
        folder.mkdir()
        for inode in {*self._names, *now}:
            places = [self._names.get(inode), now.get(inode) if chance else None]
            place = places[0] if chance is None else chance.choice(places)
            if place is None:
                continue
            at, name = place
            target = folder / at.relative_to(self._folders[0]) / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(self._left(inode, now, chance))

    def _left(self, inode: int, now: dict[int, tuple[Path, str]], chance: random.Random | None) -> bytes:
        """Give what is left of a file: what is certain, and by chance some of the rest, or zeros in its place."""
        certain = self._content.get(inode, b"")
        if chance is None or inode not in now:
            return certain
        at, name = now[inode]
        rest = (at / name).read_bytes()[len(certain) :]
        some = rest[: chance.randint(0, len(rest))]
        return certain + chance.choice([b"", some, rest, bytes(len(some)), some + bytes(len(rest) - len(some))])
