"""What commands that look after the books open: the settings, the ledger, the stats plugins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from llm_one_api import logs
from llm_one_api.cli import embedded_valkey
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.settings import Settings, load, masked
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.schema import SchemaBehind
from llm_one_api.stores.ledger.words import reason

config_option = click.option("--config", type=click.Path(path_type=Path), help="The config file.")


def settings_of(config: Path | None) -> Settings:
    """Read the settings, and end with code 2 if they have faults. Only errors are logged from now on."""
    try:
        settings = load(config, check=manager.check)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    logs.configure("error", settings.logging.format)
    return settings


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger for a block; what is wrong with it ends the command in words."""
    url = settings.ledger.url
    try:
        ledger = Ledger(url)
        try:
            ledger.open()
            yield ledger
        finally:
            ledger.close()
    except SchemaBehind as error:
        raise click.ClickException(str(error)) from None
    except (DatabaseError, OSError) as error:
        raise click.ClickException(f"the ledger {masked(url)} cannot be used: {reason(error, url)}") from None


@contextmanager
def plugin_of(settings: Settings, name: str) -> Iterator[StatsPlugins]:
    """Give the stats plugins, of which *name* is one, for a block; those that it made are cleaned up."""
    if name not in settings.plugins.stats:
        on = ", ".join(settings.plugins.stats) or "none"
        raise click.ClickException(f"no stats plugin {name!r} is on (plugins.stats: {on})")
    if settings.redis.url is None and (url := embedded_valkey.url_of(settings.data_dir)):
        settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": url})})
    plugins = StatsPlugins(
        settings.plugins.stats,
        settings.stats,
        settings.plugin_context(),
        call_timeout=settings.delivery.call_timeout,
    )
    try:
        yield plugins
    finally:
        plugins.close()
