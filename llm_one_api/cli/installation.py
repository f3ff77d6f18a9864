"""All of one installation on this machine: in which order it starts, when it is ready, in which order it stops."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from llm_one_api.cli import parts
from llm_one_api.cli.embedded_valkey import EmbeddedValkey
from llm_one_api.cli.memory_run import MemoryRun
from llm_one_api.cli.supervise.signals import Hurried, Signals
from llm_one_api.cli.supervise.supervisor import Supervisor
from llm_one_api.plugins.memory import JOIN_EVERY
from llm_one_api.settings import Settings
from llm_one_api.stores.journal.lock import relay_pid

log = structlog.get_logger()

NOTICE = 15.0
"""Seconds after which a start that takes long is explained."""
BEYOND_DRAIN = (1.5, 4.5, 5.5, 6.5, 7.0)
"""By when each step of a stop is over: seconds after `server.drain_timeout`, counted from the signal.

The gateway; the relay; the delivery of what is left; beat, workers and others; Valkey. With the default of 8 s: 15 s.
"""


class Installation:
    """The running parts, from the first start to the last stop."""

    def __init__(
        self,
        settings: Settings,
        signals: Signals,
        *,
        env: Mapping[str, str],
        memory: MemoryRun,
        valkey: EmbeddedValkey | None,
        demo: socket.socket | None,
    ) -> None:
        """Run by *settings*, which the parts read again with *env* over the environment."""
        self.settings = settings
        self.run = settings.data_dir / "run"
        self._env = env
        self._memory = memory
        self._valkey = valkey
        self._demo = demo
        self._signals = signals
        self._supervisor = Supervisor(signals)
        self._lifeline, self._our_end = os.pipe()

    def start(self) -> bool:
        """Start all parts and wait until calls are answered and counted; False: told to stop meanwhile."""
        (self.run / "draining").unlink(missing_ok=True)
        for name in parts.WORKERS:
            parts.ready_file(self.run, name).unlink(missing_ok=True)
        if self._valkey is not None:
            self._supervisor.start(self._valkey.part)
            if not self._wait(lambda: [] if self._answers() else ["valkey"]):
                return False
        if self._demo is not None:
            self._supervisor.start(parts.demo_upstream(self._env, self._demo.fileno()))
        self._supervisor.start(parts.gateway(self._env, self._lifeline))
        # Before there is a worker that could count anything.
        if not self._wait(lambda: [] if self._memory.begin() else ["redis"]):
            return False
        self._supervisor.start(parts.worker(parts.INGEST, "ingest", 1, self._env, self.run))
        self._supervisor.start(parts.worker(parts.DELIVER, "deliver,jobs", 2, self._env, self.run))
        self._supervisor.start(parts.beat(self._env, self.run))
        if self.settings.monitoring.prometheus.enabled:
            self._supervisor.start(parts.metrics(self._env))
        return self._wait(self._missing)

    def keep(self, reload: Callable[[], None]) -> None:
        """Keep the parts running until told to stop; *reload* the config when told to do that."""
        while not self._signals.stopping:
            if self._signals.reload:
                self._signals.reload = False
                reload()
            self._supervisor.wait(JOIN_EVERY)
            self._memory.go_on()

    def stop(self) -> bool:
        """Stop all parts in order, so that nothing that was answered goes uncounted; False: in a hurry."""
        began = time.monotonic()
        by = [began + self.settings.server.drain_timeout + beyond for beyond in BEYOND_DRAIN]
        supervisor = self._supervisor
        try:
            with suppress(OSError):  # a full disk: the gateway says it by itself a moment later
                (self.run / "draining").touch()
            gateway = supervisor.ask(parts.GATEWAY)
            supervisor.wait_for(gateway, by[0])
            end_relay(self.settings.journal_folder, supervisor.wait, by[1])
            supervisor.clear(gateway)
            self._memory.end(max(1.0, by[2] - time.monotonic()))
            supervisor.stop(parts.BEAT, *parts.WORKERS, parts.METRICS, parts.DEMO, until=by[3])
            supervisor.stop("valkey", until=by[4])
        except Hurried:
            log.warning("up.hurried", told="what has not been counted yet is counted at the next start")
            supervisor.stop_all("valkey")
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Leave nothing running."""
        self._supervisor.kill_all()
        for end in {self._lifeline, self._our_end} - {-1}:
            os.close(end)
        self._lifeline = self._our_end = -1

    def _wait(self, missing: Callable[[], list[str]]) -> bool:
        tell_at = time.monotonic() + NOTICE
        while waiting_for := missing():
            if self._signals.stopping:
                return False
            if time.monotonic() > tell_at:
                tell_at += NOTICE
                log.warning(
                    "up.still_starting", waiting_for=waiting_for, valkey_log=self._valkey and str(self._valkey.log)
                )
            self._supervisor.wait(0.1)
        return not self._signals.stopping

    def _answers(self) -> bool:
        return self._valkey is None or self._valkey.answers()

    def _missing(self) -> list[str]:
        missing = [name for name in parts.WORKERS if not parts.ready_file(self.run, name).exists()]
        if relay_pid(self.settings.journal_folder) is None:
            missing.append("relay")
        return missing if self._is_serving() else [*missing, parts.GATEWAY]

    def _is_serving(self) -> bool:
        """Tell whether the gateway takes calls."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(
            self.settings.server.host, self.settings.server.host
        )
        connection = http.client.HTTPConnection(host, self.settings.server.port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def end_relay(folder: Path, wait: Callable[[float], None], until: float) -> None:
    """Have the relay of *folder* send what there is, and wait for it: it is a child of the gateway's, not of ours."""
    pid = relay_pid(folder)
    if pid is None:
        return
    with suppress(ProcessLookupError):  # it may end by itself at any moment
        os.kill(pid, signal.SIGTERM)
        while relay_pid(folder) == pid:
            if time.monotonic() >= until:
                log.warning("relay.killed", reason="it did not end in time; its records are sent at the next start")
                os.kill(pid, signal.SIGKILL)
                return
            wait(0.05)
