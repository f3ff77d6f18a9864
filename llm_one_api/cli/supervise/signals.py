"""Signals, as something to wait for."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP is the terminal's window being closed."""


class Hurried(BaseException):
    """Somebody asked a second time to stop. Not an `Exception`: nothing on the way may swallow it."""


class Signals:
    """Catches the signals for the length of a block, in the main thread.

    The first signal to stop sets `stopping`; a second raises `Hurried` wherever the program is, once. Not SIGHUP: a
    terminal that is closed sends one, its shell another, and nobody is in a hurry.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._hurried = False

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._stop) for number in STOPPING}
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

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
        elif number != signal.SIGHUP and not self._hurried:
            self._hurried = True
            raise Hurried
