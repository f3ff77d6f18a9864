"""Ends a call that takes too long, as far as Python can."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

EVERY = 1.0
"""Seconds between two looks of a watchdog."""


class CallCutError(BaseException):
    """Raised inside a call whose time is over. Not an Exception: the call's own `except Exception` must not eat it."""


class _Call(NamedTuple):
    what: str
    seconds: float
    until: float


class Watchdog:
    """Notices, from a thread beside it, a call that `time_limit` could not end. For the calls of one thread."""

    def __init__(self, grace: float = 5.0) -> None:
        """Give a call *grace* seconds to come back to Python after its time is over."""
        self.grace = grace
        self.call: _Call | None = None
        self._hung: Callable[[str], None] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    @contextmanager
    def watching(self, hung: Callable[[str], None]) -> Iterator[None]:
        """Call *hung*, in the thread beside, with what hangs, should a call in the block not end."""
        self._hung = hung
        if self._thread is None or not self._thread.is_alive():  # after a fork it is not
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._watch, args=[self._over], name="watchdog", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._hung = None

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self, over: threading.Event) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # the alarm is for the thread that calls
        while not over.wait(EVERY):
            call, hung = self.call, self._hung
            if call is not None and hung is not None and time.monotonic() > call.until:
                self.call = None
                hung(f"{call.what} took longer than {call.seconds:g} s and cannot be ended")


@contextmanager
def time_limit(seconds: float, what: str, watchdog: Watchdog | None = None) -> Iterator[None]:
    """Raise TimeoutError, naming *what*, if the block takes longer than *seconds*.

    It works through SIGALRM, so only in a process's main thread; elsewhere the block is not limited. Code that waits
    inside C without coming back to Python (psycopg2 on a server that hangs) is not ended either: *watchdog* notices it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def cut(number: int, frame: FrameType | None) -> None:
        del number, frame
        if armed:
            raise CallCutError(what)

    began = time.monotonic()
    if watchdog is not None:
        watchdog.call = _Call(what, seconds, began + seconds + watchdog.grace)
    previous = signal.signal(signal.SIGALRM, cut)
    # It comes again each second, should somebody's bare `except:` have eaten the first.
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        try:
            yield
        finally:
            armed = False
    except CallCutError:
        raise TimeoutError(f"{what} took longer than {seconds:g} s") from None
    finally:
        if watchdog is not None:
            watchdog.call = None
        # Whoever had an alarm before gets it back, with the time that is left of it.
        signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)) if left else 0, every)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
