"""Services that tests share: each is real, started once a session where it can be kept clean between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.services import Redis, Valkey, postgres, valkey


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL for the session; a test that writes makes a schema or a database of its own in it."""
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def session_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey for the session, for tests that neither stop nor kill it."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Redis >= 7 for the session, for tests that neither stop nor kill it."""
    with valkey(tmp_path_factory.mktemp("redis"), Redis) as server:
        yield server


@pytest.fixture
def redis_url(session_valkey: Valkey) -> str:
    """An emptied Valkey's URL, for one test."""
    with session_valkey.client() as client:
        client.flushall()
    return session_valkey.url
