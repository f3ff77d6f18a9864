"""`llm-one-api up`: one whole installation on this machine, in the foreground."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import click
import structlog

from llm_one_api import logs, settings
from llm_one_api.cli import demo_answers, demo_upstream, embedded_valkey
from llm_one_api.cli.claim import check_free, check_journal, claimed, writing_to
from llm_one_api.cli.installation import Installation
from llm_one_api.cli.memory_run import MemoryRun
from llm_one_api.cli.supervise.signals import Hurried, Signals
from llm_one_api.cli.terminal import let_go, say
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.settings.overriding import DEMO
from llm_one_api.stores import generation
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.words import reason

log = structlog.get_logger()


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
        held.enter_context(claimed(said.data_dir))
        check_free(said.server.host, said.server.port)
        prometheus = said.monitoring.prometheus
        if prometheus.enabled:
            check_free(prometheus.host, prometheus.port, "monitoring.prometheus.port in the config")
        valkey = None
        if said.redis.url is None:
            with writing_to(said.data_dir):
                valkey = embedded_valkey.prepare(said.data_dir)
            env["LLM_ONE_API__REDIS__URL"] = valkey.url
        demo = None
        if not said.models:
            demo = held.enter_context(demo_upstream.listen())
            # Only while the config has none: a reload brings the first models of its own.
            env |= {f"{DEMO}MODELS": _demo_model(demo), f"{DEMO}PRICING": _FREE}
        loaded = _load(env)
        check_journal(loaded.journal_folder)
        memory = MemoryRun(loaded, since=_open_ledger(loaded))
        signals = held.enter_context(Signals())
        installation = Installation(loaded, signals, env=env, memory=memory, valkey=valkey, demo=demo)
        in_order = _run(installation, loaded, env)
    let_go()
    raise SystemExit(0 if in_order else 1)


def _run(installation: Installation, loaded: settings.Settings, env: Mapping[str, str]) -> bool:
    """Run until told to stop; tell whether it ended in order."""
    say("Starting …", err=True)
    try:
        if installation.start():
            say(welcome(loaded))
            installation.keep(lambda: _reload(loaded.data_dir, env))
        say("Stopping in order; Ctrl-C again to hurry …", err=True)
        return installation.stop()
    except Hurried:
        return False
    finally:
        installation.close()


def _reload(data_dir: Path, env: Mapping[str, str]) -> None:
    """Have the parts take up the config, if it has no faults; they say by themselves whether they do."""
    try:
        settings.load(environ={**os.environ, **env}, check=manager.check)
        number = generation.bump(data_dir / "run")
    except ConfigError as error:
        log.error("config.refused", faults=[str(fault) for fault in error.faults])
    except OSError as error:
        log.error("up.no_reload", kind=type(error).__name__, errno=error.errno)
    else:
        log.info("up.reloads", generation=number)


def _load(env: Mapping[str, str]) -> settings.Settings:
    try:
        return settings.load(environ={**os.environ, **env}, check=manager.check)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None


_FREE = json.dumps({f"{demo_answers.MODEL}*": {"per": "1K", "input": 0, "output": 0}})
"""What the demo's invented answers cost: nothing, and that is known."""


def _demo_model(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return json.dumps(
        # Its port is another each time; by a name of its own it is one upstream in all reports.
        {
            demo_answers.MODEL: {
                "upstreams": [
                    {"name": "demo", "api_base": f"http://{host}:{port}/v1", "api_key": "demo", "proxy": "none"}
                ]
            }
        }
    )


def _open_ledger(loaded: settings.Settings) -> int:
    """Make or upgrade an SQLite ledger before anybody uses it, check a PostgreSQL one; tell its last `seq`."""
    url = loaded.ledger.url
    try:
        ledger = Ledger(url)
        try:
            ledger.open()
            last = ledger.last_seq()
            if "memory" in loaded.plugins.stats:
                # Should Redis lose its data, the run is counted again from here.
                ledger.cursors.begin_run("memory", last)
        finally:
            ledger.close()
    except SchemaBehind as error:
        raise click.ClickException(str(error)) from None
    except (DatabaseError, OSError) as error:
        raise click.ClickException(f"the ledger {settings.masked(url)} cannot be used: {reason(error, url)}") from None
    return last


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
        *_metrics(loaded),
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


def _metrics(loaded: settings.Settings) -> Iterator[str]:
    """Say where Prometheus finds its figures, if it does."""
    at = loaded.monitoring.prometheus
    if at.enabled:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)
        yield f"  figures for Prometheus at http://{f'[{host}]' if ':' in host else host}:{at.port}/metrics"


def _has_sample_key(loaded: settings.Settings) -> bool:
    """Tell whether the key that everybody knows works here; no other is ever printed."""
    entries = loaded.auth.get("default_auth", {}).get("api_keys") or []
    named = [entry if isinstance(entry, dict) else {"key": entry} for entry in entries]
    on = "default_auth" in loaded.plugins.auth
    return on and any(e.get("key") == settings.SAMPLE_KEY and e.get("enabled", True) is not False for e in named)
