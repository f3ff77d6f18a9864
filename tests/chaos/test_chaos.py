"""One short run of the suite; `make chaos` has more of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.deal import hand
from tests.chaos.faults.broker import ValkeyEmptied
from tests.chaos.faults.kills import (
    CeleryChildKilled,
    CeleryKilledInBatch,
    CeleryKilledWithMessage,
    DeliveryKilled,
    RelayKilled,
)
from tests.chaos.report import told
from tests.chaos.run import run

SEED = 4
SHORT = (
    RelayKilled, CeleryChildKilled, CeleryKilledInBatch, CeleryKilledWithMessage, DeliveryKilled, ValkeyEmptied,
)  # fmt: skip
"""Kills only: none of them waits for long."""


@pytest.mark.alone
def test_nothing_is_lost_and_nothing_doubled_by_kills_under_load(tmp_path: Path) -> None:
    done = run(hand(SEED, SHORT), tmp_path)

    assert done.wrong == [], told(done)
    assert done.void == [], told(done)
    assert {played.name for played in done.played} >= {fault.name for fault in SHORT}
    assert done.verdict.outcomes["success"] > 100
