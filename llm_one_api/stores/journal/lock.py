"""One relay a journal folder: who holds `relay.lock` is it, and has written its process id there for `up` to read."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from llm_one_api.stores.journal.segments import prepare

_FILE = "relay.lock"


def take_relay_lock(folder: Path, *, patience: float = 0.3) -> int | None:
    """Become the folder's relay for as long as the returned descriptor is open; None: another one is.

    Tries for *patience* seconds, for `relay_is_running` holds the lock for an instant too.
    """
    prepare(folder)
    fd = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                return None
            time.sleep(0.02)
        else:
            with suppress(OSError):  # a full disk does not keep the relay from its work
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd


def relay_is_running(folder: Path) -> bool:
    """Tell whether a process holds the folder's relay lock. Costs some 10 µs."""
    try:
        fd = os.open(folder / _FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def relay_pid(folder: Path) -> int | None:
    """Tell the process id of the folder's relay, to ask it to end; None: there is none."""
    if not relay_is_running(folder):
        return None
    written = (folder / _FILE).read_bytes().strip()
    return int(written) if written.isdigit() else None
