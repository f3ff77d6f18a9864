"""The broker gone, with what it knew and without; limits that are forgotten; and a task that comes twice."""

from __future__ import annotations

from tests.chaos.faults.fault import BROKER, RECORDS, RELAY, WAY, Fault
from tests.harness.processes import wait_until


class ValkeyKilled(Fault):
    """It is away for some seconds; what it had said that it has is in its file."""

    name = "`kill -9` Valkey"
    breaks = frozenset({BROKER})
    needs = frozenset({RELAY, RECORDS})
    lasts = 3.0

    def strike(self) -> None:
        self._before = len(self.scene.events("relay.away", what="broker"))
        self.scene.valkey.kill()

    def has_hit(self) -> bool:
        return len(self.scene.events("relay.away", what="broker")) > self._before

    def heal(self) -> None:
        self.scene.start_process(self.scene.valkey.start)

    def is_over(self) -> bool:
        return self.scene.valkey.answers() and self.scene.knows_the_broker()


class ValkeyEmptied(ValkeyKilled):
    """The same, and it comes back with nothing: queues, acknowledgements and live figures are gone."""

    name = "`kill -9` Valkey, without its data"

    def heal(self) -> None:
        self.scene.valkey.forget()
        super().heal()


class LimitsLost(Fault):
    """The limit store has lost its counters, from one moment to the next, and nobody is told."""

    name = "limits' counters lost"
    needs = WAY

    def strike(self) -> None:
        self._before = len(self.scene.events("relay.settles_anew"))
        with self.scene.valkey.client() as client:
            client.delete(*client.scan_iter("oneapi:limits:*", count=1000))

    def has_hit(self) -> bool:
        return len(self.scene.events("relay.settles_anew")) > self._before

    def is_over(self) -> bool:
        with self.scene.valkey.client() as client:
            return bool(client.exists("oneapi:limits:state"))


class TaskTwice(Fault):
    """A batch that was put into the queue a second time."""

    name = "task delivered twice"
    needs = WAY

    def strike(self) -> None:
        wire = self.scene.wire
        self.scene.wait_for_calm()
        for _ in range(40):
            before = len(wire.copies)
            wait_until(lambda n=before: len(wire.copies) > n, every=0.002, what="a batch is sent")  # type: ignore[misc]
            self._copy = wire.copies[before]
            with self.scene.valkey.client() as client:
                client.rpush("oneapi:ingest", self._copy.message)
            try:
                wait_until(self.has_hit, timeout=2)
            except AssertionError:  # its message was too old already
                continue
            return

    def has_hit(self) -> bool:
        """Both were taken in, one after the other."""
        return self.scene.wire.acks[self._copy.batch] > 1
