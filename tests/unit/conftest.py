"""What many unit tests have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger


@pytest.fixture
def ledger(ready_file: Path, tmp_path: Path) -> Iterator[Ledger]:
    """A real one on SQLite, with its tables and nothing in them."""
    with closing(Ledger(f"sqlite:///{shutil.copy(ready_file, tmp_path)}")) as it:
        yield it
