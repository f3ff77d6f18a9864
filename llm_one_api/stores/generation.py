"""The config's generation: a number in a small file that a reload replaces, and what each process says of it.

All of it is in `data_dir/run`, for the processes of one machine:

    run/generation                     {"number": …}        replaced as a whole; whoever follows looks at it by `stat`
    run/processes/gateway-4711-….json  {"generation": …}    one a process, which holds a lock on it as long as it lives

So nobody has to know who runs, and no process id is ever taken for somebody else's.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

import msgspec

from llm_one_api.values import Value

_NONE = 0
"""The number where nothing was ever reloaded."""


class _File(msgspec.Struct):
    number: int


class Answer(Value, frozen=True, kw_only=True):
    """What a process says of the config that it runs by."""

    part: str
    """`gateway`, `relay`."""
    pid: int
    generation: int
    """The last one that it has looked at."""
    state: Literal["uses", "refused", "stopping"] = "uses"
    faults: tuple[str, ...] = ()
    """Why it was refused. No secrets."""
    restart: Mapping[str, tuple[str, ...]] = {}
    """Settings that changed and that not every part takes up by itself, with the parts that want a restart."""
    file: str = ""
    """Which file it was, and when that was written: the same for all, or it was changed meanwhile."""


def bump(run: Path) -> int:
    """Begin a new generation, and give its number. Raises OSError."""
    run.mkdir(parents=True, exist_ok=True)
    with _locked(run / "generation.lock"):
        number = max(_read(run / "generation") + 1, time.time_ns())
        new = run / ".generation.new"
        new.write_bytes(msgspec.json.encode(_File(number)))
        new.replace(run / "generation")
    return number


class Following:
    """Looks whether there is a new generation, for one process."""

    def __init__(self, run: Path, *, since: int) -> None:
        """Take the present one for known, unless it began after *since* (`time.time_ns()`), when it was read."""
        self._file = run / "generation"
        self._seen: tuple[int, int] | None = None
        self.number = _NONE
        found = self._stat()
        if found is not None and (number := _read(self._file)) < since:
            self._seen, self.number = found, number

    def look(self) -> int | None:
        """Give the number of a generation that is new; None: there is none. Costs one system call."""
        now = self._stat()
        if now is None or now == self._seen:
            return None
        self._seen = now
        number = _read(self._file)
        if number == self.number:
            return None
        self.number = number
        return number

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._file)  # noqa: PTH116 (four times a second, on the hub)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


class Voice:
    """Says for one process which generation it runs by. Made after the fork, for it is the process that holds it."""

    def __init__(self, run: Path, part: str) -> None:
        """Say nothing yet. Raises OSError."""
        self._part, self._pid = part, os.getpid()
        folder = run / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        for _ in answers(run):  # removes those of processes that are gone
            pass
        name = f"{part}-{self._pid}-{uuid4().hex[:12]}.json"
        new = folder / f".{name}"
        self._fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._path = folder / name
        new.rename(self._path)  # nobody sees it before it is locked

    def say(
        self,
        generation: int,
        state: Literal["uses", "refused", "stopping"] = "uses",
        *,
        faults: tuple[str, ...] = (),
        restart: Mapping[str, tuple[str, ...]] | None = None,
        file: str = "",
    ) -> None:
        """Say it, instead of what was said before. Raises OSError."""
        answer = Answer(
            part=self._part,
            pid=self._pid,
            generation=generation,
            state=state,
            faults=faults,
            restart=restart or {},
            file=file,
        )
        # In place, for the lock is on this file: what is left of a longer one stands behind the line's end.
        line = msgspec.json.encode(answer) + b"\n"
        os.pwrite(self._fd, line, 0)
        os.ftruncate(self._fd, len(line))

    def close(self) -> None:
        """Say no more: the process ends."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def answers(run: Path) -> list[Answer | None]:
    """Give what each living process says; None: it has said nothing yet. Forgets those that are gone."""
    found: list[Answer | None] = []
    with suppress(FileNotFoundError):
        for path in sorted((run / "processes").glob("[!.]*.json")):
            with suppress(FileNotFoundError):
                found += _answer(path)
    return found


def _answer(path: Path) -> Iterator[Answer | None]:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            line, _, _ = os.pread(fd, 1 << 20, 0).partition(b"\n")
            try:
                yield msgspec.json.decode(line, type=Answer)
            except msgspec.DecodeError:
                yield None
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _read(file: Path) -> int:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_File).number
    except (OSError, msgspec.DecodeError):
        return _NONE


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
