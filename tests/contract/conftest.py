"""A ledger on each database that it can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import empty_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database's URL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with empty_database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger with its tables, and nothing in them."""
    it = Ledger(url)
    it.upgrade()
    yield it
    it.close()
