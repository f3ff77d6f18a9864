"""What a gunicorn process does beside serving: syncs its journal, sees that there is a relay, looks who is away."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import structlog

from llm_one_api.gateway.watch import Watch
from llm_one_api.stores.journal.lock import relay_is_running, relay_pid
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.web import own_relay
from llm_one_api.web.health import Condition
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.off_hub import Threads, on_disk

log = structlog.get_logger()

LOOK_EVERY = 5.0
PROBE_SECONDS = 3.0


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
        lookout: Lookout,
        refuse_when_full: bool,
        probes: Mapping[str, Callable[[], None]],
        draining_marker: Path,
        chores: Sequence[Callable[[], None]],
        beginnings: Sequence[Callable[[], None]] = (),
        endings: Sequence[Callable[[], None]] = (),
        lifeline: int | None,
    ) -> None:
        """Start nothing yet.

        Each of *probes* raises if its part is away; each runs in a thread of its own. The *chores*, which must not
        block, are done every few seconds, the *beginnings* at the start, the *endings* when the process is about to
        end, before the journal is shut.
        """
        self.watch = watch
        self.journal = journal
        self._journal_folder = journal_folder
        self._sync_every = sync_every
        self._condition = condition
        self._lookout = lookout
        self._refuse_when_full = refuse_when_full
        self._probes = probes
        self._threads = Threads(len(probes))
        self._asked: dict[str, Any] = {}
        self._chores = tuple(chores)
        self._beginnings = tuple(beginnings)
        self._endings = tuple(endings)
        self._marker = draining_marker
        self._lifeline = lifeline
        self._began = time.time()
        self._greenlets: list[Any] = []
        self._relay: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to keep house, on this thread's hub."""
        self.watch.start()
        for begin in self._beginnings:
            begin()
        self._greenlets = [gevent.spawn(self._sync), gevent.spawn(self._look)]
        if self._lifeline is not None:
            self._greenlets.append(gevent.spawn(self._follow_lifeline, self._lifeline))

    def stop(self) -> None:
        """End it; what the journal holds is on disk then."""
        gevent.killall(self._greenlets)
        self.watch.stop()
        if self._relay is not None and relay_pid(self._journal_folder) != self._relay.pid:
            self._relay.terminate()  # it is only starting: it would become the relay when ours has just ended
        for end in self._endings:
            end()
        on_disk(self.journal.shut)

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
            with _going_on("sync"):
                on_disk(self.journal.sync)

    def _look(self) -> None:
        while True:
            with _going_on("measure"):
                on_disk(self._lookout.look_at_disk, within=PROBE_SECONDS)
            with _going_on("look"):
                self._condition.not_ready = "journal_full" if self._refuse_when_full and self.journal.full else None
                self._keep_relay()
                for chore in self._chores:
                    chore()
                missing = self._missing()
                if missing != self._condition.missing:
                    (log.warning if missing else log.info)("health.missing", missing=missing)
                self._condition.missing = missing
                because = self._lookout.because()
                if because != self._condition.because:
                    (log.warning if because else log.info)("health.degraded", because=because)
                self._condition.because, self._condition.figures = because, self._lookout.figures()
            gevent.sleep(LOOK_EVERY)

    def _missing(self) -> list[str]:
        """Ask all probes at once; one that has not answered in time is not asked again before it has."""
        for name, probe in self._probes.items():
            if name not in self._asked or self._asked[name].ready():
                self._asked[name] = gevent.spawn(self._threads, partial(_raises, probe))
        gevent.joinall(list(self._asked.values()), timeout=PROBE_SECONDS)
        missing = [name for name, asked in self._asked.items() if not asked.ready() or asked.value is not False]
        if not relay_is_running(self._journal_folder) and self._relay is None:
            missing.append("relay")
        return sorted(missing)

    def _keep_relay(self) -> None:
        """Spawn a relay if there is none. Another process may do the same: the second relay exits by itself."""
        if self._relay is not None and self._relay.poll() is not None:
            self._relay = None
        if self._relay is None and not self.watch.draining and not relay_is_running(self._journal_folder):
            self._relay = own_relay.spawn(self._lifeline)
            log.info("relay.spawned", pid=self._relay.pid)

    def _follow_lifeline(self, fd: int) -> None:
        """End at once when the process that runs us all is gone, however it went."""
        gevent.socket.wait_read(fd)
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _going_on(doing: str) -> Iterator[None]:
    """Log what goes wrong (no descriptor left, say) and go on: without these rounds nobody would bring a relay."""
    try:
        yield
    except Exception as error:
        log.error("house.failed", doing=doing, kind=type(error).__name__, errno=getattr(error, "errno", None))


def _raises(probe: Callable[[], None]) -> bool:
    try:
        probe()
    except Exception:  # whatever a client library raises: the part is away
        return True
    return False
