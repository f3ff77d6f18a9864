"""What the stats plugins may add to the memory of a process: in the pool of a worker that delivers, and nowhere else.

An allocation beyond `delivery.max_memory` fails, with MemoryError, in the plugin that asked for it: so it is that
plugin that failed. What is held on to by and by is given back by replacing the process, before the limit would hit
somebody else. Linux only.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from celery.signals import task_postrun, worker_init, worker_process_init

from llm_one_api.broker import DELIVER
from workers.celery_app import app, settings

log = structlog.get_logger()

_STATUS = Path("/proc/self/status")

REPLACED_AT = 0.9
"""The part of the limit at which a process is replaced, after its task."""

_replaced_above: int | None = None
"""Bytes of a process of this worker, at its highest; None: it does not deliver."""


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def replace_what_grew(sender: Any, **_signal: object) -> None:
    """Have Celery replace a process of the pool that has grown near to the limit."""
    global _replaced_above  # noqa: PLW0603 (one worker a process)
    if DELIVER not in app.amqp.queues.consume_from or not _STATUS.exists():
        return
    _replaced_above = _status("VmRSS") + int(REPLACED_AT * settings.delivery.max_memory)
    if sender.max_memory_per_child is None:  # else `--max-memory-per-child` says otherwise
        sender.max_memory_per_child = _replaced_above // 1024


@worker_process_init.connect  # type: ignore[untyped-decorator]
def limit_this_process(**_signal: object) -> None:
    """Let allocations fail that go beyond the limit; this is a process of the pool."""
    if _replaced_above is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _status("VmData") + settings.delivery.max_memory
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


@task_postrun.connect  # type: ignore[untyped-decorator]
def tell_if_it_grew(task: Any, args: Sequence[Any], **_signal: object) -> None:
    """Say that this process has grown so much that it is replaced, and which plugin had it last."""
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if _replaced_above is not None and highest > _replaced_above:
        log.warning(
            "worker.process_grew", task=task.name, args=list(args), pid=os.getpid(),
            bytes=highest, replaced_above=_replaced_above,
        )  # fmt: skip


def _status(name: str) -> int:
    """Read a figure of this process, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"/proc says no {name}")
    return int(found[1]) * 1024
