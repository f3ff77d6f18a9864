"""Services that tests share: each is real, started once a session where it can be kept clean between tests.

And in which order files begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import create_engine, make_url

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness import commands
from tests.harness.databases import empty_database
from tests.harness.services import Redis, Valkey, postgres, valkey

LONGEST = frozenset(
    f"test_{name}.py"
    for name in (
        "up", "runs", "suite", "verify", "compose_parts", "journal_kills", "prometheus", "calls", "on_postgres",
        "example_plugin", "estimates_process", "alert_delivery", "bad_plugins", "prices", "analysis_pages", "stops",
    )
)  # fmt: skip
"""Those that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files begin first: else a core has nothing to do while the last one goes on."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _commands_end() -> Iterator[None]:
    """Leave no process behind that runs commands for tests."""
    yield
    commands.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL for the session; a test that writes makes a schema or a database of its own in it."""
    with postgres() as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")  # nobody cuts its power
            connection.exec_driver_sql("ALTER SYSTEM SET full_page_writes = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        engine.dispose()
        yield url


@pytest.fixture(scope="session")
def ready_database(postgres_url: str) -> Iterator[str]:
    """The name of a PostgreSQL ledger's database with nothing in it, to be used as a template."""
    with empty_database(postgres_url) as url:
        with closing(Ledger(url)) as ledger:
            ledger.upgrade()
        yield str(make_url(url).database)


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
