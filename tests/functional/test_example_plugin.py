"""The founding document's plugin, as printed, in a package of its own, against a real PostgreSQL."""

from __future__ import annotations

import shutil
import site
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.harness.processes import ROOT, wait_until
from tests.harness.product import Product, config
from tests.harness.upstream import Upstream, scripted

EXAMPLE = ROOT / "examples" / "stats_plugin_postgres"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the example installed in it; everything else it sees of ours."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    library = next(folder.glob("lib/python*/site-packages"))
    (library / "ours.pth").write_text("\n".join([*site.getsitepackages(), str(ROOT)]))
    source = shutil.copytree(EXAMPLE, folder / "source")  # setuptools builds in the folder itself
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", "install", *quiet, "--target", library, source], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def database(postgres_url: str) -> Iterator[psycopg.Connection]:
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS api_stats")
        connection.execute((EXAMPLE / "table.sql").read_text())
        yield connection


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


def test_it_keeps_every_call_and_heals_when_its_connection_is_cut(
    python: Path, database: psycopg.Connection, upstream: Upstream, postgres_url: str, tmp_path: Path
) -> None:
    settings = config(upstream.url, plugins={"stats": ["log", "memory", "database"]})
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    settings["stats"]["database"] = {"database_url": url}
    it = Product(tmp_path, settings, python=python)
    try:
        it.start()
        it.call()
        wait_until(lambda: _rows(database) == 1, what="the first call is in the table")
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND query LIKE '%api_stats%'"
        )
        it.call()
        it.call()

        wait_until(lambda: _rows(database) >= 3, timeout=40, what="all calls are in the table")
        row = database.execute("SELECT model, user_id, prompt_tokens, completion_tokens, total_tokens FROM api_stats")

        assert row.fetchone() == ("m", "alice", 50, 120, 170)
        wait_until(lambda: _remembered(it) == 3, what="memory has them too")
    finally:
        it.close()


def test_a_server_that_takes_its_connection_and_never_answers_costs_the_other_plugins_nothing(
    python: Path, upstream: Upstream, tmp_path: Path
) -> None:
    settings = config(upstream.url, plugins={"stats": ["log", "memory", "database"]})
    settings["delivery"] = {"call_timeout": 1, "lease": 20}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        settings["stats"]["database"] = {"database_url": f"postgresql://user:hunter2hunter2@{host}/stats"}
        it = Product(tmp_path, settings, python=python)
        try:
            it.start()
            it.call()
            wait_until(lambda: _failures(it) >= 2, timeout=60, what="it was given up twice")
            it.call()

            wait_until(lambda: _remembered(it) == 2, what="memory has all calls")
            wait_until(lambda: _logged(it) == 2, what="the log has all calls")
            output = it.process.text() if it.process else ""
        finally:
            it.close()
    assert "the constructor took longer than 1 s and cannot be ended" in output
    assert "hunter2" not in output


def _remembered(it: Product) -> int:
    return int(it.get("/v1/stats/memory")["total_requests"])


def _logged(it: Product) -> int:
    return (it.folder / "logs" / "llm-one-api.log").read_text().count('"event":"response"')


def _failures(it: Product) -> int:
    assert it.process is not None
    return it.process.text().count("plugin.failed")


def _rows(database: psycopg.Connection) -> int:
    found = database.execute("SELECT count(*) FROM api_stats").fetchone()
    return int(found[0]) if found else 0
