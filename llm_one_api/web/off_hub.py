"""Runs what blocks (SQL, fsync) in real threads, while the hub goes on with everybody else's calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

T = TypeVar("T")


def off_hub(work: Callable[[], T]) -> T:
    """Do *work* in a thread of the hub's pool and wait for it; only this greenlet waits."""
    result: T = gevent.get_hub().threadpool.apply(work)
    return result
