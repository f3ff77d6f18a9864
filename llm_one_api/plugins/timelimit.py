"""Ends a call that takes too long, as far as Python can."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CallCutError(BaseException):
    """Raised inside a call whose time is over. Not an Exception: the call's own `except Exception` must not eat it."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise TimeoutError, naming *what*, if the block takes longer than *seconds*.

    It works through SIGALRM, so only in a process's main thread; elsewhere the block is not limited. Code that waits
    inside C without coming back to Python (psycopg2 on a server that hangs) is not ended either: for that there is
    Celery's hard time limit, which kills the process.
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
        # Whoever had an alarm before gets it back, with the time that is left of it.
        signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)) if left else 0, every)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
