"""Signals, as something to wait for."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM)
_STREAMS = (0, 1, 2)


class Hurried(BaseException):
    """Somebody asked a second time to stop. Not an `Exception`: nothing on the way may swallow it."""


class Signals:
    """Catches the signals for the length of a block, in the main thread.

    The first signal to stop sets `stopping`; a second raises `Hurried` wherever the program is, once. SIGHUP sets
    `reload`, unless it says that the terminal is gone which the program was started in: then it is one to stop, but
    never one to hurry, for a terminal that is closed sends one, and its shell another.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.reload = False
        """Whether a SIGHUP has asked for it. Whoever does it takes it back."""
        self._hurried = False
        self._had_terminal = any(map(os.isatty, _STREAMS))

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._stop) for number in STOPPING}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        # A handler of any kind is what makes the wake-up below be written when a child ends.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Return when a signal came (a child's end is one), at the latest after *seconds*."""
        readable, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if readable:
            os.read(self._read, 4096)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
        elif not self._hurried:
            self._hurried = True
            raise Hurried

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        # A terminal that is hung up is one no more: the kernel sees to that before it sends the signal.
        if self._had_terminal and not any(map(os.isatty, _STREAMS)):
            self.stopping = True
        else:
            self.reload = True
