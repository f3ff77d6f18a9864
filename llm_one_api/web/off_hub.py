"""Runs what blocks (SQL, fsync) in real threads, while the hub goes on with everybody else's calls.

Each kind of work has threads of its own, so that a database that hangs holds up no fsync. gevent's own pool is left to
look-ups of names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.threadpool import ThreadPool

T = TypeVar("T")


class Threads:
    """A few threads for one kind of work; made when first needed, after the fork."""

    def __init__(self, size: int) -> None:
        """Do up to *size* works at a time; what is beyond waits its turn."""
        self._size = size
        self._pool: Any = None

    def __call__(self, work: Callable[[], T], *, within: float | None = None) -> T:
        """Do *work* and wait for it; only this greenlet waits. Raises what *work* raises.

        Raises TimeoutError if that takes longer than *within* seconds; the work itself goes on then.
        """
        if self._pool is None:
            self._pool = ThreadPool(self._size, hub=gevent.get_hub())
        with gevent.Timeout(within, TimeoutError):
            result, error = self._pool.spawn(_tried, work).get()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Keep what *work* raises from gevent, which would print all of it, and it may hold anything."""
    try:
        return work(), None
    except Exception as error:
        return None, error


on_disk = Threads(2)
"""For the journal."""
in_sql = Threads(4)
"""For the ledger."""
