"""What can be done to the product, each in a class of its own: how it is made, seen to have hit, and ended."""

from __future__ import annotations

from tests.chaos.faults.broker import LimitsLost, TaskTwice, ValkeyEmptied, ValkeyKilled
from tests.chaos.faults.clocks import ClockBack, ClockForward
from tests.chaos.faults.database import ConnectionsCut, PostgresRestarted
from tests.chaos.faults.disk import FullDisk
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.kills import (
    CeleryChildKilled,
    CeleryKilledInBatch,
    CeleryKilledWithMessage,
    DeliveryKilled,
    GunicornKilled,
    RelayKilled,
    WorkerKilled,
)
from tests.chaos.faults.plugin import PluginHangs, PluginLeaks, PluginRaises
from tests.chaos.faults.stops import (
    CeleryChildStopped,
    CeleryStopped,
    GunicornStopped,
    RelayStopped,
    ValkeyStopped,
    WorkerStopped,
)

ALWAYS: tuple[type[Fault], ...] = (WorkerKilled, TaskTwice)
"""In every run: without an adoption and a second delivery it would show little."""

DECK: tuple[type[Fault], ...] = (
    GunicornKilled, RelayKilled, CeleryChildKilled, CeleryKilledInBatch, CeleryKilledWithMessage, DeliveryKilled,
    ValkeyKilled, ValkeyEmptied, LimitsLost,
    WorkerStopped, GunicornStopped, RelayStopped, CeleryChildStopped, CeleryStopped, ValkeyStopped,
    FullDisk, ConnectionsCut, PostgresRestarted,
    PluginRaises, PluginHangs, PluginLeaks,
    ClockForward, ClockBack,
)  # fmt: skip
"""The others, to be dealt."""

__all__ = ["ALWAYS", "DECK", "Fault"]
