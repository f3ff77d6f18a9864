"""SIGSTOP: a process that is there and does nothing, for 20 seconds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress

import psutil

from tests.chaos.faults.fault import BROKER, DELIVER, GATEWAY, INGEST, RELAY, Fault

SECONDS = 20.0


class Stop(Fault):
    """Stops one process."""

    lasts = SECONDS

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._stopped: psutil.Process | None = None
        self._stall = ExitStack()

    def find(self) -> Sequence[psutil.Process]:
        """Name those of which one is stopped."""
        raise NotImplementedError

    def strike(self) -> None:
        found = self.find()
        assert found, "there is none to stop"
        self._stopped = self.scene.chance.choice(found)
        self._stopped.suspend()

    def has_hit(self) -> bool:
        return self._stopped is not None and self._stopped.status() == psutil.STATUS_STOPPED

    def heal(self) -> None:
        if self._stopped is not None:
            with suppress(psutil.NoSuchProcess):  # it was replaced meanwhile
                self._stopped.resume()
        self._stall.close()

    def is_over(self) -> bool:
        try:
            return self._stopped is not None and self._stopped.status() != psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return True


class WorkerStopped(Stop):
    name = "SIGSTOP gunicorn worker"
    breaks = frozenset({GATEWAY})

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.gunicorn_workers()

    def strike(self) -> None:
        self._stall.enter_context(self.scene.noting(self.scene.stalls))
        super().strike()


class GunicornStopped(Stop):
    name = "SIGSTOP gunicorn master"
    breaks = frozenset({GATEWAY})

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.gunicorn()


class RelayStopped(Stop):
    name = "SIGSTOP relay"
    breaks = frozenset({RELAY})

    def find(self) -> Sequence[psutil.Process]:
        return self.scene.relay()


class CeleryChildStopped(Stop):
    """One that takes batches in, or one that feeds the plugins."""

    name = "SIGSTOP Celery child"
    breaks = frozenset({INGEST, DELIVER})

    def find(self) -> Sequence[psutil.Process]:
        return [*self.scene.ingest_children(), *self.scene.deliver_children()]


class CeleryStopped(Stop):
    """The worker that takes batches in, or the one that feeds the plugins."""

    name = "SIGSTOP Celery main"
    breaks = frozenset({INGEST, DELIVER})

    def find(self) -> Sequence[psutil.Process]:
        return [*self.scene.ingest(), *self.scene.deliver()]


class ValkeyStopped(Stop):
    name = "SIGSTOP Valkey"
    breaks = frozenset({BROKER})
    needs = frozenset({RELAY})

    def find(self) -> Sequence[psutil.Process]:
        assert self.scene.valkey.process is not None
        return [psutil.Process(self.scene.valkey.process.pid)]

    def strike(self) -> None:
        self._before = len(self.scene.events("relay.away", what="broker"))
        super().strike()

    def has_hit(self) -> bool:
        return len(self.scene.events("relay.away", what="broker")) > self._before

    def is_over(self) -> bool:
        return super().is_over() and self.scene.knows_the_broker()
