"""A ledger on each database that it can be in, and a limit store on each server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from tests.harness.databases import empty_database
from tests.harness.services import Valkey


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


@pytest.fixture(params=["valkey", "redis"])
def limit_server(request: pytest.FixtureRequest) -> Valkey:
    """An emptied server of each kind, for one test that neither stops nor kills it."""
    server: Valkey = request.getfixturevalue(f"session_{request.param}")
    with server.client() as client:
        client.flushall()
    return server


@pytest.fixture
def store(limit_server: Valkey) -> Iterator[LimitStore]:
    """A limit store whose counters are whole, and empty."""
    it = LimitStore(limit_server.url, "t:", lease=60, timeout=5)
    it.recount(0, {})
    yield it
    it.close()
