"""What many unit tests have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A real one on SQLite, with its tables and nothing in them."""
    file = tmp_path / "ledger.db"
    give_tables(file)
    with closing(Ledger(f"sqlite:///{file}")) as it:
        yield it
