"""Processes: that end with the one that started them, however that ends; that let calls go first, and waste no time."""

from __future__ import annotations

import ctypes
import gc
import os
import signal

BEHIND_CALLS = 10
"""The niceness of processes that work on records, where they share cores with the gateway: calls are answered first."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def look_for_cycles_seldom() -> None:
    """Have Python look for cyclic garbage a tenth as often, and not among what is there now.

    For processes that work on records, once all is loaded: those come by the thousands and make no cycles, and the
    looking took a tenth of the time (measured).
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when *parent*, which must be its parent, ends; also by `kill -9`.

    The kernel goes by the thread that forked, so a process must be started by its parent's main thread.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)
