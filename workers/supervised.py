"""What a worker does besides when something looks after it (`celery … worker … -I workers.supervised`), and beat too.

It shows that it works by a file whose time goes on: `llm-one-api up` waits for the file, a container's health check
looks at its time. (Remote control is off, so there is no `celery inspect ping`; and it would not tell that tasks are
taken.) A worker's pool ends with the worker, also when that is killed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from celery import bootsteps
from celery.beat import PersistentScheduler
from celery.signals import worker_process_init, worker_ready

from llm_one_api.lifetime import end_with
from workers.celery_app import app

log = structlog.get_logger()

SHOW_EVERY = 5.0
"""Seconds between two signs of work."""

_AHEAD = timedelta(seconds=SHOW_EVERY)
"""An entry that ran so far in the future was run before the clock was set back."""

_main = os.getpid()


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def show(**_signal: object) -> None:
    """Make the file that says so, or set its time to now."""
    if name := os.environ.get("LLM_ONE_API_READY_FILE"):
        try:
            Path(name).touch()
        except OSError as error:  # such as a full disk: that it cannot be shown does not stop the work
            log.warning("supervised.cannot_show", error=str(error))


class Showing(bootsteps.StartStopStep):  # type: ignore[misc]
    """Shows it while tasks are taken: from the event loop, with a connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Begin; Celery calls this for each new connection."""
        self._timer = consumer.timer.call_repeatedly(SHOW_EVERY, show)

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 (Celery's)
        """End; Celery calls this when the connection is lost."""
        self._timer.cancel()


app.steps["consumer"].add(Showing)


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    """Beat's scheduler (`celery … beat … -S workers.supervised:Scheduler`): shows it while what is due can be sent.

    A clock that is set back does not stop it: Celery's own would wait until the old time comes again.
    """

    max_interval = SHOW_EVERY
    _sent = True

    def apply_async(self, *arguments: Any, **named: Any) -> Any:
        """Send one task, and remember whether that failed: Celery logs it and goes on."""
        self._sent = False
        result = super().apply_async(*arguments, **named)
        self._sent = True
        return result

    def tick(self, *arguments: Any, **named: Any) -> Any:
        """Send what is due."""
        now = self.app.now()
        ahead = [entry for entry in self.schedule.values() if entry.last_run_at and entry.last_run_at > now + _AHEAD]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            log.warning("beat.clock_set_back", entries=[entry.name for entry in ahead])
            self._heap = None  # it is made anew from the entries
        wait = super().tick(*arguments, **named)
        if self._sent:
            show()
        return wait


@worker_process_init.connect  # type: ignore[untyped-decorator]
def end_with_the_worker(**_signal: object) -> None:
    """Tie a process of the pool to the worker's main process."""
    end_with(_main)
