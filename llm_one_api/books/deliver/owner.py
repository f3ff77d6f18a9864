"""Names the process that holds a lease, so that others on its machine can tell when it has ended.

A process id alone would not do: it may be another's by now, or of another container. With the machine's boot, the
namespace and the time at which the process started, it is one process for ever. Where these cannot be compared, a lease
of a process that died runs out by itself.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19
"""Where in `/proc/…/stat`, after the name in brackets: the state, and when it started."""


def me() -> str:
    """Name this process."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())} {_where()}"


def is_gone(owner: str) -> bool:
    """Tell whether the process that was called so has ended for sure."""
    try:
        _, pid, started, where = owner.split(" ")
        if "?" in {started, where} or where != _where():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OSError):  # not a name of ours; or there is one, of another user
        return False
    return _started(int(pid)) not in {started, "?"}


@cache
def _where() -> str:
    """Name the space in which process ids hold: this boot of this machine, and the container."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return "?"


def _started(pid: int) -> str:
    """Tell when *pid* started, in ticks since the boot; `ended` if it has and nobody asked yet; `?`: unknown."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "?"
    return "ended" if fields[_STATE] in "ZX" else fields[_STARTED]
