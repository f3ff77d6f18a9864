"""`llm-one-api bench pipeline`: how many records a second come from the journal to the ledger and the plugins."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from llm_one_api import logs, settings
from llm_one_api.cli import embedded_valkey
from llm_one_api.cli.benching import report
from llm_one_api.cli.benching.calls import models
from llm_one_api.cli.benching.carrying import Interrupted, pipeline
from llm_one_api.cli.benching.filling import fill
from llm_one_api.cli.supervise.signals import Hurried, Signals
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.words import reason

_MARK = "bench"
"""The consumer whose run begins at the last record, if all records are ours."""


@click.command()
@click.option("--records", default=100_000, show_default=True, type=click.IntRange(1, 10**7), help="How many.")
@click.option("--ledger", help="A database that has no records, instead of SQLite in the temporary folder.")
@click.option("--broker", help="What the tasks go through, instead of the Valkey that is started anyway.")
@click.option("--keep", is_flag=True, help="Leave the folder with everything in it, and say where it is.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds for all to arrive in.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(records: int, ledger: str | None, broker: str | None, keep: bool, timeout: float, as_json: bool) -> None:
    """Measure how fast records come from the journal to the ledger and the plugins.

    Invented calls are written into a journal as a gateway does it. Then the relay, the workers (with the plugins `log`
    and `memory`) and a Valkey, as `llm-one-api up` runs them, carry them on until the ledger and both plugins have
    all. Everything is in a temporary folder, and ended in the end. Exits with 1 if not all has arrived.
    """
    with ExitStack() as held:
        signals = held.enter_context(Signals())
        folder = held.enter_context(_folder(keep=keep))
        try:
            found = _measure(folder, records, ledger, broker, timeout, signals)
        except (Hurried, Interrupted):
            raise SystemExit(128 + signal.SIGINT) from None
    click.echo(report.as_json(found) if as_json else report.as_text(found))
    raise SystemExit(0 if found.is_whole else 1)


def _measure(
    folder: Path, records: int, ledger_url: str | None, broker: str | None, timeout: float, signals: Signals
) -> report.Report:
    valkey = embedded_valkey.prepare(folder / "data")
    temporary = folder / "tmp"
    temporary.mkdir()
    env = {
        "LLM_ONE_API_CONFIG": str(folder / "config.yaml"),
        "LLM_ONE_API__REDIS__URL": valkey.url,
        # A worker that is killed leaves its folder for temporary files.
        "TMPDIR": str(temporary),
    }
    url = ledger_url or f"sqlite:///{folder}/data/ledger.db"
    loaded = _load(folder, env, url, broker)
    with _empty(url) as ledger:
        before = ledger.last_seq()
        ledger.cursors.begin_run("memory", before)
        click.echo(f"Writing {records:,} calls into a journal …", err=True)
        targets = {model: route.targets[0] for model, route in loaded.routes().items()}
        filled = fill(loaded.journal_folder, records, targets, stopping=lambda: signals.stopping)
        click.echo("Starting the relay and the workers …", err=True)
        with pipeline(loaded, env, valkey, signals) as running:
            carried = running.carry(ledger, before, filled.calls, timeout)
            faults = tuple(_faults(loaded, filled.calls)) if carried.last.least >= filled.calls else ()
        if carried.last.least >= filled.calls:
            ledger.cursors.begin_run(_MARK, ledger.last_seq())
    return report.Report(
        ledger="SQLite" if ledger.is_sqlite else "PostgreSQL",
        broker="RabbitMQ" if urlsplit(broker or "").scheme in {"amqp", "amqps"} else "Valkey",
        filled=filled,
        carried=carried,
        faults=faults,
    )


def _load(folder: Path, env: Mapping[str, str], ledger: str, broker: str | None) -> settings.Settings:
    config: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "logging": {"file": str(folder / "logs/llm-one-api.log"), "level": "warning"},
        "models": models(),
        "plugins": {"stats": ["log", "memory"]},
        "stats": {"log": {"format": "json"}},
        "ledger": {"url": ledger},
        "broker": {"url": broker},
    }
    path = Path(env["LLM_ONE_API_CONFIG"])
    path.touch(mode=0o600)  # the URLs may hold passwords
    path.write_text(json.dumps(config))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LLM_ONE_API")}
    for name in os.environ.keys() - clean.keys():
        del os.environ[name]  # the parts would read it too
    try:
        loaded = settings.load(environ={**clean, **env}, check=manager.check)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(loaded.logging.level, loaded.logging.format)
    return loaded


@contextmanager
def _empty(url: str) -> Iterator[Ledger]:
    """Open a ledger that has no records but ours."""
    ledger = Ledger(url)
    try:
        ledger.open_as_it_is()
        last, mark = ledger.last_seq(), ledger.cursors.position(_MARK)
        if last and (mark is None or mark.since != last):
            raise click.ClickException(
                f"the ledger {settings.masked(url)} has records, and they are not all of a bench"
            )
        yield ledger
    except SchemaBehind as error:
        raise click.ClickException(str(error)) from None
    except (DatabaseError, OSError) as error:
        raise click.ClickException(f"the ledger {settings.masked(url)} cannot be used: {reason(error, url)}") from None
    finally:
        ledger.close()


def _faults(loaded: settings.Settings, records: int) -> Iterator[str]:
    """Look whether the plugins really have what their places say."""
    lines = 0
    for path in loaded.logging.file.parent.glob(f"{loaded.logging.file.name}*"):
        with path.open("rb") as file:
            lines += sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    if lines < records:
        yield f"the log has {lines:,} lines"
    memory = MemoryStatsPlugin(PluginConfig({}, loaded.plugin_context()))
    counted = memory.get_stats()["total_requests"]
    memory.cleanup()
    if counted != records:
        yield f"memory has counted {counted:,}"


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Have a folder for the length of a block, or for good."""
    if keep:
        folder = tempfile.mkdtemp(prefix="bench-")
        sys.stderr.write(f"Everything is in {folder}\n")
        yield Path(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
