"""The founding document's plugin, as printed, in a package of its own, against a real PostgreSQL."""

from __future__ import annotations

import json
import shutil
import site
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from llm_one_api.broker import DELIVER, sender
from llm_one_api.plugins import memory
from llm_one_api.stores.counters import connect
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.processes import ROOT, Process, wait_until
from tests.harness.product import Product, config
from tests.harness.records import record
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
        wait_until(lambda: it.get("/v1/stats/memory")["total_requests"] == 3, what="memory has them too")
    finally:
        it.close()


def test_a_server_that_takes_its_connection_and_never_answers_costs_the_other_plugins_nothing(
    python: Path, redis_url: str, tmp_path: Path
) -> None:
    settings = config("http://127.0.0.1:9/v1", plugins={"stats": ["log", "memory", "database"]})
    settings |= {"redis": {"url": redis_url}, "delivery": {"call_timeout": 1, "lease": 20}}
    give_tables(tmp_path / "data" / "ledger.db")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        closing(Ledger(f"sqlite:///{tmp_path}/data/ledger.db")) as ledger,
        closing(sender(redis_url, "oneapi:")) as beat,
    ):
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        settings["stats"]["database"] = {"database_url": f"postgresql://user:hunter2hunter2@{host}/stats"}
        (tmp_path / "config.yaml").write_text(json.dumps(settings))
        argv: list[str | Path] = [python, "-m", "celery", "-A", "workers.celery_app", "--quiet", "worker"]
        env = {"LLM_ONE_API_CONFIG": str(tmp_path / "config.yaml")}
        worker = Process("worker", [*argv, "-Q", "deliver", "-c", "2", "-l", "WARNING"], folder=tmp_path, env=env)

        def have_had(calls: int, failures: int = 0) -> bool:
            """Tell whether the other plugins have had so many calls; hint at what there is, as beat does."""
            assert worker.alive, worker.text()[-3000:]
            for name in ("log", "memory", "database"):
                beat.send_task("stats.deliver", [name], queue=DELIVER, expires=5)
            return (_remembered(redis_url), _logged(tmp_path)) == (calls, calls) and (
                worker.text().count("plugin.failed") >= failures
            )

        try:
            ledger.ingest([record(1)])
            wait_until(lambda: have_had(1, failures=2), timeout=60, every=0.1, what="it was given up twice")
            ledger.ingest([record(2)])
            wait_until(lambda: have_had(2), timeout=40, every=0.1, what="the others have all calls")
        finally:
            worker.kill()
    assert "the constructor took longer than 1 s and cannot be ended" in worker.text()
    assert "hunter2" not in worker.text()


def _remembered(redis_url: str) -> int:
    with connect(redis_url) as client:
        counted = memory.audit_view(client, "oneapi:")
    return sum(figures["requests"] for figures in counted.totals.values()) if counted else 0


def _logged(folder: Path) -> int:
    log = folder / "logs" / "llm-one-api.log"
    return log.read_text().count('"event":"response"') if log.exists() else 0


def _rows(database: psycopg.Connection) -> int:
    found = database.execute("SELECT count(*) FROM api_stats").fetchone()
    return int(found[0]) if found else 0
