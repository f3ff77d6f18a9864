"""`llm-one-api up` with PostgreSQL as its ledger: the first start, cut connections, a crash of the server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests
from sqlalchemy import make_url

from tests.harness import commands
from tests.harness.bookkeeper import Bookkeeper, bookkeeper
from tests.harness.judge import books, settle
from tests.harness.load import load
from tests.harness.processes import wait_until
from tests.harness.product import KEY, Product, config
from tests.harness.services import Postgres, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One of our own: it is killed."""
    with postgres_server() as it:
        yield it


@pytest.fixture
def database(server: Postgres) -> str:
    """An empty database's URL, as an operator writes it."""
    name = f"ledger_{time.monotonic_ns()}"
    url = make_url(server.url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def upstream() -> Iterator[Bookkeeper]:
    with bookkeeper() as it:
        yield it


@pytest.fixture
def installed(upstream: Bookkeeper, database: str, tmp_path: Path) -> Iterator[Product]:
    """An installation that was never started, on a database that is empty."""
    relay = {"resend_min": 1, "resend_max": 10}
    it = Product(tmp_path / "product", config(upstream.url, ledger={"url": database}, relay=relay))
    yield it
    it.close()


def cli(it: Product, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the installation's folder, to its end."""
    return commands.run(*words, "--config", it.config, folder=it.folder)


def test_a_start_without_tables_says_what_to_do_and_ends(installed: Product) -> None:
    ended = cli(installed, "up", "--port", str(installed.port))

    assert ended.returncode == 1
    assert "llm-one-api db upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_cut_connections_and_a_crash_cost_no_record_and_no_call(
    installed: Product, upstream: Bookkeeper, server: Postgres, database: str
) -> None:
    upgraded = cli(installed, "db", "upgrade")
    installed.start()

    with books(database) as kept, load(installed.url, "call") as calls:
        cut = 0
        for _ in range(3):
            calls.goes_on(20)
            cut += cut_connections(database)
        calls.goes_on(20)
        server.kill()
        calls.goes_on(60)
        away = stats(installed)
        server.start()
        calls.goes_on(20)
        calls.stop()
        outcomes = settle(calls, upstream, kept)
        sums = stats(installed).json()
        wait_until(
            lambda: installed.get("/v1/stats/memory")["total_requests"] >= len(calls.sent),
            timeout=40,
            what="the memory plugin has caught up",
        )
        memory = installed.get("/v1/stats/memory")

    assert upgraded.returncode == 0, upgraded.stderr
    assert cut >= 3
    assert calls.broken == []
    assert outcomes == {"success": len(calls.sent)}
    assert (away.status_code, away.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert [model["requests"] for model in sums["models"]] == [len(calls.sent)] == [memory["total_requests"]]


def cut_connections(database: str) -> int:
    """End all connections to *database* but our own; tell how many there were."""
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(found)


def stats(it: Product) -> requests.Response:
    return requests.get(f"{it.url}/v1/stats", headers={"Authorization": f"Bearer {KEY}"}, timeout=20)
