"""A gateway's journal without the gateway: opens and closes calls, and says in a file of its own what it has done.

Each line there is `<what> <call> <tokens>`: O before an OPEN is written and o after it, C and c likewise for a CLOSE.
Run it with `python -m tests.harness.scripted_writer <journal> <file> <options as JSON>`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import msgspec

from llm_one_api.stores.journal.writer import FsyncPolicy, Journal
from tests.harness.calls import opened, record


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    name: str
    """Stands before the number of each call."""
    steps: int = 3000
    """How many entries; then it waits to be killed."""
    segment_bytes: int = 20_000
    fsync: FsyncPolicy = "never"
    die: str | None = None
    """Kill ourselves in a rotation: `before`, in the `middle` of, or `after` the first write to the new segment."""


class Suicide:
    """Writes, until the third segment is begun."""

    def __init__(self, when: str) -> None:
        """Die `before`, in the `middle` of or `after` the first write to it."""
        self._when = when
        self._segments = 0
        self._fd = -1

    def write(self, fd: int, data: bytes) -> int:
        """Write *data*, or part of it."""
        if Path(f"/proc/self/fd/{fd}").readlink().name.startswith("."):
            self._segments += 1
        if self._segments < 3:
            return os.write(fd, data)
        if self._when == "middle":
            os.write(fd, data[: len(data) // 2])
        elif self._when == "after":
            os.write(fd, data)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def main(folder: Path, log: Path, script: Script) -> None:
    """Follow *script*."""
    write = Suicide(script.die).write if script.die else os.write
    journal = Journal(folder, segment_bytes=script.segment_bytes, fsync=script.fsync, write=write)
    chance = random.Random(script.name)
    going: list[str] = []
    done = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for step in range(script.steps):
        if len(going) < 2 or (len(going) < 8 and chance.random() < 0.5):
            going.append(f"{script.name}-{step}")
            os.write(done, f"O {going[-1]} 0\n".encode())
            journal.open(opened(going[-1]))
            os.write(done, f"o {going[-1]} 0\n".encode())
        else:
            call = going.pop(chance.randrange(len(going)))
            os.write(done, f"C {call} {step}\n".encode())
            journal.close(record(call, step))
            os.write(done, f"c {call} {step}\n".encode())
    os.write(done, f"! {journal.lost} {journal.open_calls}\n".encode())
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), msgspec.json.decode(sys.argv[3], type=Script))
