"""What the stats plugins may add to the memory of a process: in the pool of a worker that delivers, and nowhere else.

An allocation beyond `delivery.max_memory` fails, with MemoryError, in the plugin that asked for it: so it is that
plugin that failed. What is held on to by and by is given back by replacing the process after its task, long before the
limit would hit somebody else. Linux only.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import billiard.pool
import structlog
from celery.signals import task_postrun, worker_init, worker_process_init

from llm_one_api.broker import DELIVER
from workers.celery_app import app, settings

log = structlog.get_logger()

_STATUS = Path("/proc/self/status")

REPLACED_AT = 0.5
"""The part of the limit at which a process is replaced."""

_delivers = False
_at_start: int | None = None
"""Bytes that this process had when it was forked; None: it is not limited."""


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def replace_what_grew(sender: Any, **_signal: object) -> None:
    """Have Celery look after each task whether the process has grown, unless `--max-memory-per-child` does."""
    global _delivers  # noqa: PLW0603 (one worker a process)
    _delivers = DELIVER in app.amqp.queues.consume_from and _STATUS.exists() and sender.max_memory_per_child is None
    if _delivers:
        sender.max_memory_per_child = int(REPLACED_AT * settings.delivery.max_memory) // 1024


@worker_process_init.connect  # type: ignore[untyped-decorator]
def limit_this_process(**_signal: object) -> None:
    """Let allocations fail that go beyond the limit; this is a process of the pool."""
    global _at_start  # noqa: PLW0603
    if not _delivers:
        return
    _at_start = _data()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _at_start + settings.delivery.max_memory
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    # Celery goes by the peak of what was resident. What runs out here is address space that is written to, and what
    # was given back is no reason to replace a process.
    billiard.pool.mem_rss = lambda: max(1, _grown() // 1024)


@task_postrun.connect  # type: ignore[untyped-decorator]
def tell_if_it_grew(task: Any, args: Sequence[Any], **_signal: object) -> None:
    """Say that this process has grown so much that it is replaced, and what it did last."""
    if _at_start is not None and (grown := _grown()) > REPLACED_AT * settings.delivery.max_memory:
        log.warning("worker.process_grew", task=task.name, args=list(args), pid=os.getpid(), bytes=grown)


def _grown() -> int:
    return _data() - (_at_start or 0)


def _data() -> int:
    """Tell how many bytes the limit is about."""
    found = re.search(r"^VmData:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{_STATUS} says no VmData")
    return int(found[1]) * 1024
