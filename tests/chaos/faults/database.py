"""The database away."""

from __future__ import annotations

from tests.chaos.faults.fault import LEDGER, WAY, Fault
from tests.chaos.ledgers import PostgresServer
from tests.harness.processes import wait_until


class ConnectionsCut(Fault):
    """All connections to it end, three times."""

    name = "PostgreSQL connections cut"
    breaks = frozenset({LEDGER})
    needs = WAY - breaks
    ledger = "postgresql"
    times = 3

    def strike(self) -> None:
        assert isinstance(self.scene.ledger, PostgresServer)
        for _ in range(self.times):
            wait_until(self.scene.ledger.cut, every=0.5, what="there are connections to cut")


class PostgresRestarted(Fault):
    """All its processes are killed, and it comes back after some seconds."""

    name = "PostgreSQL restarted"
    breaks = frozenset({LEDGER})
    needs = WAY - breaks
    ledger = "postgresql"
    lasts = 3.0

    def strike(self) -> None:
        assert isinstance(self.scene.ledger, PostgresServer)
        self._before = len(self.scene.events("ingest.failed"))
        self.scene.ledger.kill()

    def has_hit(self) -> bool:
        return len(self.scene.events("ingest.failed")) > self._before

    def heal(self) -> None:
        assert isinstance(self.scene.ledger, PostgresServer)
        self.scene.ledger.start()
