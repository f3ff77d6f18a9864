"""What a worker does besides when `llm-one-api up` runs it (`celery … -I workers.supervised`).

It says when it takes tasks, and its pool's processes end with it, also when it is killed.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery.signals import worker_process_init, worker_ready

from llm_one_api.lifetime import end_with

_main = os.getpid()


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def say_ready(**_signal: object) -> None:
    """Make the file that `up` waits for."""
    if name := os.environ.get("LLM_ONE_API_READY_FILE"):
        Path(name).touch()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def end_with_the_worker(**_signal: object) -> None:
    """Tie a process of the pool to the worker's main process."""
    end_with(_main)
