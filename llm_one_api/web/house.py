"""What a gunicorn process does beside serving: syncs its journal, sees that there is a relay, looks who is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
import structlog

from llm_one_api.gateway.watch import Watch
from llm_one_api.stores.journal.lock import relay_is_running
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.web.health import Condition
from llm_one_api.web.off_hub import off_hub

log = structlog.get_logger()

LOOK_EVERY = 5.0
RELAY = (sys.executable, "-m", "llm_one_api.cli", "relay")
LIFELINE = "LLM_ONE_API_LIFELINE"


class House:
    """Belongs to one process; `start` after the fork, `stop` before it ends."""

    def __init__(
        self,
        *,
        watch: Watch,
        journal: Journal,
        journal_folder: Path,
        sync_every: float,
        condition: Condition,
        refuse_when_full: bool,
        probes: Mapping[str, Callable[[], None]],
        draining_marker: Path,
        lifeline: int | None,
    ) -> None:
        """Start nothing yet. Each of *probes* raises if its part is away; each runs in a thread of its own."""
        self.watch = watch
        self.journal = journal
        self._journal_folder = journal_folder
        self._sync_every = sync_every
        self._condition = condition
        self._refuse_when_full = refuse_when_full
        self._probes = probes
        self._marker = draining_marker
        self._lifeline = lifeline
        self._began = time.time()
        self._greenlets: list[Any] = []
        self._relay: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to keep house, on this thread's hub."""
        self.watch.start()
        self._greenlets = [gevent.spawn(self._sync), gevent.spawn(self._look)]
        if self._lifeline is not None:
            self._greenlets.append(gevent.spawn(self._follow_lifeline, self._lifeline))

    def stop(self) -> None:
        """End it; what the journal holds is on disk then."""
        gevent.killall(self._greenlets)
        self.watch.stop()
        off_hub(self.journal.shut)

    @property
    def draining(self) -> bool:
        """Whether no more calls should be sent here: we are stopping, or whoever runs us is about to stop us."""
        if self.watch.draining:
            return True
        try:
            return self._marker.stat().st_mtime >= self._began
        except OSError:
            return False

    def _sync(self) -> None:
        while True:
            gevent.sleep(self._sync_every)
            try:
                off_hub(self.journal.sync)
            except OSError as error:
                log.error("journal.sync_failed", error=repr(error))

    def _look(self) -> None:
        while True:
            self._keep_relay()
            jobs = {name: gevent.get_hub().threadpool.spawn(_raises, probe) for name, probe in self._probes.items()}
            missing = sorted(name for name, job in jobs.items() if job.get())
            if not relay_is_running(self._journal_folder) and self._relay is None:
                missing.append("relay")
            if missing != self._condition.missing:
                log.warning("health.missing", missing=missing)
            self._condition.missing = missing
            self._condition.not_ready = "journal_full" if self._refuse_when_full and self.journal.full else None
            gevent.sleep(LOOK_EVERY)

    def _keep_relay(self) -> None:
        """Spawn a relay if there is none. Another process may do the same: the second relay exits by itself."""
        if self._relay is not None and self._relay.poll() is not None:
            self._relay = None
        if self._relay is None and not self.watch.draining and not relay_is_running(self._journal_folder):
            keep = () if self._lifeline is None else (self._lifeline,)
            self._relay = subprocess.Popen(  # noqa: S603 (our own command)
                RELAY, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=keep
            )
            log.info("relay.spawned", pid=self._relay.pid)

    def _follow_lifeline(self, fd: int) -> None:
        """End at once when the process that runs us all is gone, however it went."""
        gevent.socket.wait_read(fd)
        os.kill(os.getpid(), signal.SIGKILL)


def _raises(probe: Callable[[], None]) -> bool:
    try:
        probe()
    except Exception:  # whatever a client library raises: the part is away
        return True
    return False
