"""Runs what blocks (SQL, fsync) in real threads, while the hub goes on with everybody else's calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

T = TypeVar("T")


def off_hub(work: Callable[[], T]) -> T:
    """Do *work* in a thread of the hub's pool and wait for it; only this greenlet waits. Raises what *work* raises."""
    result, error = gevent.get_hub().threadpool.apply(_tried, (work,))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Keep what *work* raises from gevent, which would print all of it, and it may hold anything."""
    try:
        return work(), None
    except Exception as error:
        return None, error
