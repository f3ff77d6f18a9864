"""A ledger to be looked at, and tampered with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A real one, with nothing in it."""
    it = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    it.upgrade()
    yield it
    it.close()
