"""`llm-one-api up`: one whole installation on this machine, in the foreground."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from llm_one_api import logs, settings
from llm_one_api.books.farewell import farewell
from llm_one_api.cli import demo_answers, demo_upstream, embedded_valkey
from llm_one_api.cli.claim import check_free, claimed
from llm_one_api.cli.installation import Installation
from llm_one_api.cli.supervise.signals import Hurried, Signals
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.schema import SchemaBehind


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The file; else LLM_ONE_API_CONFIG, else config/llm-one-api.yaml, else the packaged default.",
)
@click.option("--host", help="The address to listen on, instead of server.host.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on, instead of server.port (8000).")
def command(config: Path | None, host: str | None, port: int | None) -> None:
    """Run everything on this machine, in the foreground; Ctrl-C stops it in order."""
    chosen = {
        "LLM_ONE_API_CONFIG": str(config) if config else None,
        "LLM_ONE_API__SERVER__HOST": host,
        "LLM_ONE_API__SERVER__PORT": str(port) if port else None,
    }
    env = {name: value for name, value in chosen.items() if value is not None}
    said = _load(env)
    logs.configure(said.logging.level, said.logging.format)
    with ExitStack() as held:
        held.enter_context(claimed(said.data_dir / "run"))
        check_free(said.server.host, said.server.port)
        valkey = None
        if said.redis.url is None:
            valkey = embedded_valkey.prepare(said.data_dir)
            env["LLM_ONE_API__REDIS__URL"] = valkey.url
        demo = None
        if not said.models:
            demo = held.enter_context(demo_upstream.listen())
            env["LLM_ONE_API__MODELS"] = _demo_model(demo)
        loaded = _load(env)
        _open_ledger(loaded)
        signals = held.enter_context(Signals())
        installation = Installation(loaded, signals, env=env, valkey=valkey, demo=demo)
        raise SystemExit(0 if _run(installation, loaded) else 1)


def _run(installation: Installation, loaded: settings.Settings) -> bool:
    """Run until told to stop; tell whether it ended in order."""
    click.echo("Starting …", err=True)
    try:
        if installation.start():
            click.echo(welcome(loaded))
            installation.keep()
        click.echo("Stopping in order; Ctrl-C again to hurry …", err=True)
        return installation.stop(lambda seconds: _deliver_the_rest(loaded, seconds))
    except Hurried:
        return False
    finally:
        installation.close()


def _load(env: Mapping[str, str]) -> settings.Settings:
    try:
        return settings.load(environ={**os.environ, **env}, check=manager.check)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None


def _demo_model(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return json.dumps({demo_answers.MODEL: {"api_base": f"http://{host}:{port}/v1", "api_key": "demo"}})


def _open_ledger(loaded: settings.Settings) -> None:
    """Make or upgrade an SQLite ledger before anybody uses it; check a PostgreSQL one."""
    ledger = Ledger(loaded.ledger.url)
    try:
        ledger.open()
        if "memory" in loaded.plugins.stats:
            # A run of `up` is a run of the memory plugin's: what a killed one left unsaid is not this one's.
            ledger.cursors.begin_run("memory", ledger.last_seq())
    except SchemaBehind as error:
        raise click.ClickException(str(error)) from None
    except (DatabaseError, OSError) as error:
        where = settings.masked(loaded.ledger.url)
        raise click.ClickException(f"the ledger {where} cannot be used: {type(error).__name__}") from None
    finally:
        ledger.close()


def _deliver_the_rest(loaded: settings.Settings, seconds: float) -> None:
    """Bring what the ledger has to the memory plugin, and print its summary."""
    ledger = Ledger(loaded.ledger.url)
    stats = StatsPlugins(loaded.plugins.stats, loaded.stats, loaded.plugin_context())
    try:
        farewell(ledger, stats, catch_up_for=seconds)
    finally:
        stats.close()
        ledger.close()


def welcome(loaded: settings.Settings) -> str:
    """Say where it is and how to make a first call."""
    server = loaded.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    key = settings.SAMPLE_KEY if _has_sample_key(loaded) else "your key"
    model = next(iter(loaded.models))
    shown = key if key == settings.SAMPLE_KEY else "$YOUR_KEY"
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    as_json = f"-H 'Content-Type: application/json' -d '{body}'"
    lines = [
        "",
        f"LLM One API answers at {address}/v1",
        f"  key    {key}",
        f"  models {', '.join(loaded.models)}",
        f"  log    {loaded.logging.file.resolve()}",
        "",
        "A first call:",
        "",
        f'  curl {address}/v1/chat/completions -H "Authorization: Bearer {shown}" {as_json}',
        "",
        "What was counted:",
        "",
        f'  curl {address}/v1/stats -H "Authorization: Bearer {shown}"',
        "",
        "Ctrl-C stops it.",
        "",
    ]
    return "\n".join(lines)


def _has_sample_key(loaded: settings.Settings) -> bool:
    """Tell whether the key that everybody knows works here; no other is ever printed."""
    entries = loaded.auth.get("default_auth", {}).get("api_keys") or []
    named = [entry if isinstance(entry, dict) else {"key": entry} for entry in entries]
    on = "default_auth" in loaded.plugins.auth
    return on and any(e.get("key") == settings.SAMPLE_KEY and e.get("enabled", True) is not False for e in named)
