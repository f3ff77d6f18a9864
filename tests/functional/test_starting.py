"""What cannot start says why in a sentence, and ends; what it makes is for its own eyes only."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from sqlalchemy import create_engine, make_url

from llm_one_api.cli import embedded_valkey
from llm_one_api.cli.claim import claimed
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness import commands
from tests.harness.databases import empty_database
from tests.harness.disks import at_most
from tests.harness.processes import BIN, ROOT, free_port

PASSWORD = "s3cret-passw0rd"

Config = Mapping[str, Any]


class Installation:
    """A folder with a config, in which commands are run to their end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger_url = f"sqlite:///{folder}/data/ledger.db"

    def configure(self, config: Config) -> None:
        (self.folder / "config.yaml").write_text(json.dumps({"server": {"port": free_port()}, **config}))

    def run(self, command: str, *arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("LLM_ONE_API")}
        return subprocess.run(
            ["/bin/sh", "-c", f'{before} exec "$@"', "sh", BIN / command, *arguments],
            cwd=self.folder,
            env={**env, "LLM_ONE_API_CONFIG": str(self.folder / "config.yaml"), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of `llm-one-api` to its end."""
        return commands.run(*words, folder=self.folder, env={"LLM_ONE_API_CONFIG": str(self.folder / "config.yaml")})

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.command("up")

    def worker(self) -> subprocess.CompletedProcess[str]:
        return self.run("celery", "-A", "workers.celery_app", "--quiet", "worker", "-Q", "ingest")

    def gunicorn(self) -> subprocess.CompletedProcess[str]:
        return self.run("gunicorn", "-c", ROOT / "config" / "gunicorn.conf.py", "wsgi:application")


@pytest.fixture
def it(tmp_path: Path) -> Installation:
    made = Installation(tmp_path)
    made.configure({})
    return made


def told(ended: subprocess.CompletedProcess[str]) -> str:
    """Give the one line that a command ended with."""
    assert ended.returncode == 1, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.lower().startswith("error")]
    assert "Traceback" not in ended.stderr
    return line


def test_a_full_disk(it: Installation) -> None:
    ended = it.run("llm-one-api", "up", before="ulimit -f 0;")

    assert told(ended).startswith("Error: cannot start: No usable temporary directory")


def test_a_data_folder_on_a_full_disk(tmp_path: Path) -> None:
    with at_most(0), pytest.raises(click.ClickException) as told, claimed(tmp_path / "data"):
        pass

    assert told.value.message == f"cannot write to {tmp_path}/data: File too large"


def test_a_data_folder_that_something_is_in_the_way_in(it: Installation) -> None:
    (it.folder / "data/run/valkey.conf").mkdir(parents=True)

    assert told(it.up()) == "Error: cannot write to data: Is a directory"


def no_folder(folder: Path) -> str:
    """Name a folder that nobody can make."""
    (folder / "file").touch()
    return str(folder / "file" / "folder")


def test_a_journal_that_cannot_be_made(it: Installation) -> None:
    folder = no_folder(it.folder)
    it.configure({"journal": {"folder": folder}})

    ends = [told(it.up()), told(it.command("relay"))]

    assert ends == [f"Error: cannot write to {folder}: Not a directory"] * 2


def test_a_journal_that_nobody_may_write_to(it: Installation) -> None:
    it.configure({"journal": {"folder": "/sys/kernel"}})

    for line in (told(it.up()), told(it.command("relay"))):
        assert line.startswith("Error: cannot write to /sys/kernel: ")


@pytest.mark.parametrize("command", ["up", "db upgrade"])
def test_a_ledger_whose_folder_cannot_be_made(it: Installation, command: str) -> None:
    it.configure({"ledger": {"url": f"sqlite:///{no_folder(it.folder)}/ledger.db"}})

    line = told(it.command(*command.split()))

    assert "file/folder/ledger.db cannot be u" in line
    assert line.endswith(": Not a directory")


@pytest.mark.parametrize("command", ["up", "db upgrade"])
def test_a_ledger_that_is_none(it: Installation, command: str) -> None:
    it.configure({"ledger": {"url": it.ledger_url}})
    (it.folder / "data").mkdir()
    (it.folder / "data/ledger.db").write_text("not what SQLite writes" * 1000)

    line = told(it.command(*command.split()))

    assert line.endswith("DatabaseError: file is not a database")


@pytest.mark.parametrize("start", [Installation.up, Installation.worker])
def test_a_ledger_of_a_newer_version(it: Installation, start: Callable[[Installation], Any]) -> None:
    it.configure({"ledger": {"url": it.ledger_url}})
    make_newer(it.ledger_url)

    line = told(start(it))

    assert line.lower() == f"error: {NEWER.lower()}"


NEWER = (
    "The ledger is at schema 9999, which this version does not know: it was upgraded by a newer one. "
    "Install that version again."
)


def make_newer(url: str) -> None:
    ledger = Ledger(url)
    ledger.upgrade()
    ledger.close()
    engine = create_engine(make_url(url).set(drivername="sqlite" if "sqlite" in url else "postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()


def test_an_upgrade_of_a_ledger_of_a_newer_version(it: Installation, postgres_url: str) -> None:
    with empty_database(postgres_url) as database:
        for url in (it.ledger_url, database):
            it.configure({"ledger": {"url": url}})
            make_newer(url)

            assert told(it.command("db", "upgrade")) == f"Error: {NEWER}"


def test_a_database_that_is_not_there(it: Installation) -> None:
    port = free_port()
    it.configure({"ledger": {"url": f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/stats"}})

    ends = [it.up(), it.command("db", "upgrade")]

    for ended in ends:
        assert f"127.0.0.1:{port}/stats cannot be u" in told(ended)
        assert "onnection refused" in told(ended)
        assert PASSWORD not in ended.stdout + ended.stderr


def test_a_database_that_lets_nobody_in(it: Installation, postgres_url: str) -> None:
    with empty_database(postgres_url) as database:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE ROLE away NOLOGIN")
        stranger = make_url(database).set(username="away", password=PASSWORD)
        try:
            it.configure({"ledger": {"url": stranger.render_as_string(hide_password=False)}})

            ended = it.up()
        finally:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("DROP ROLE away")

    assert told(ended).endswith('role "away" is not permitted to log in')
    assert PASSWORD not in ended.stdout + ended.stderr


FAULT = "server.prot (line 1): unknown setting; did you mean port?"


@pytest.mark.parametrize("start", [Installation.worker, Installation.gunicorn])
def test_a_config_with_a_fault(it: Installation, start: Callable[[Installation], Any]) -> None:
    (it.folder / "config.yaml").write_text("server: {prot: 1}")

    ended = start(it)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [f"{it.folder}/config.yaml: 1 fault(s)", f"  {FAULT}"]


def test_a_fault_of_a_plugin_ends_gunicorn_and_is_told(it: Installation) -> None:
    it.configure({"stats": {"memory": {"max_recods": 5}}})

    ended = it.gunicorn()

    assert ended.returncode == 4
    assert "did you mean max_records?" in ended.stderr
    assert "Traceback" not in ended.stderr


def private(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_data_folder_is_for_our_own_eyes_only(tmp_path: Path) -> None:
    with claimed(tmp_path / "made" / "data"):
        pass

    assert private(tmp_path / "made" / "data")


def test_what_is_kept_in_a_folder_that_all_may_read_is_for_our_own_eyes_only(it: Installation) -> None:
    data = it.folder / "data"
    data.mkdir()
    it.configure({"ledger": {"url": it.ledger_url}})

    embedded_valkey.prepare(data)
    upgraded = it.command("db", "upgrade")

    assert upgraded.returncode == 0, upgraded.stderr
    assert [path for path in (data / "valkey", data / "run/valkey.conf", data / "ledger.db") if not private(path)] == []
