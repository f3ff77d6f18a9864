"""A ledger on each database that it can be in, and a limit store on each server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from tests.contract.reused import ReusedDatabase
from tests.harness.databases import empty_database, give_tables
from tests.harness.services import Valkey


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database's URL: of an empty one, or of a ledger's where the test has that too."""
    is_ready = "ledger" in request.fixturenames
    if request.param == "sqlite":
        file = tmp_path / "ledger.db"
        if is_ready:
            give_tables(file)
        yield f"sqlite:///{file}"
        return
    with (
        request.getfixturevalue("reused").lend()
        if is_ready
        else empty_database(request.getfixturevalue("postgres_url")) as url
    ):
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ledger's database with its tables, for all tests of a file."""
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("ledger") / "ledger.db"
        give_tables(file)
        yield f"sqlite:///{file}"
        return
    with empty_database(request.getfixturevalue("postgres_url"), request.getfixturevalue("ready_database")) as url:
        yield url


@pytest.fixture(scope="session")
def reused(postgres_url: str, ready_database: str) -> Iterator[ReusedDatabase]:
    """A ledger in PostgreSQL that tests have one after another, each as if it was the first."""
    with closing(ReusedDatabase(postgres_url, ready_database)) as it:
        yield it


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger with its tables, and nothing in them."""
    it = Ledger(url)
    yield it
    it.close()


class Home(NamedTuple):
    """A server, and connections to it that tests share, for making one costs as much as most of them."""

    server: Valkey
    client: redis.Redis
    store: LimitStore


@pytest.fixture(scope="session", params=["valkey", "redis"])
def limit_home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """A server of each kind that a limit store can be on."""
    server: Valkey = request.getfixturevalue(f"session_{request.param}")
    with server.client() as client, closing(LimitStore(server.url, "t:", lease=60, timeout=5)) as store:
        yield Home(server, client, store)


@pytest.fixture
def limit_server(limit_home: Home) -> Valkey:
    """An emptied server of each kind, for one test that neither stops nor kills it."""
    limit_home.client.flushall()
    return limit_home.server


@pytest.fixture
def store(limit_home: Home, limit_server: Valkey) -> LimitStore:
    """A limit store whose counters are whole, and empty."""
    limit_home.store.ahead_ms = 0
    limit_home.store.recount(0, {})
    return limit_home.store
