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
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.words import reason

config_option = click.option("--config", type=click.Path(path_type=Path), help="The config file.")


def settings_of(config: Path | None, *, with_plugins: bool = False) -> Settings:
    """Read the settings, and end with code 2 if they have faults. Only warnings are logged from now on.

    With *with_plugins*, for commands that call them, faults of their sections count too, and only errors are logged.
    """
    try:
        settings = load(config, check=manager.check if with_plugins else None)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    logs.configure("error" if with_plugins else "warning", settings.logging.format)
    return settings


@contextmanager
def ledger_of(
    settings: Settings, *, failure: type[click.ClickException] = click.ClickException, must_exist: bool = False
) -> Iterator[Ledger]:
    """Open the ledger for a block; what is wrong with it ends the command by *failure*, in words.

    One of an older version is not upgraded, for parts of that version may still run, and could not write to it any
    more. With *must_exist* none is made where there is none.
    """
    url = settings.ledger.url
    try:
        ledger = Ledger(url)
        try:
            if must_exist and not ledger.audit.exists():
                raise failure(f"there is no ledger {masked(url)} yet: `up` and workers make it (or name a --config)")
            ledger.open_as_it_is()
            yield ledger
        finally:
            ledger.close()
    except SchemaBehind as error:
        raise failure(str(error)) from None
    except (DatabaseError, OSError) as error:
        raise failure(f"the ledger {masked(url)} cannot be used: {reason(error, url)}") from None


def with_redis_of_up(settings: Settings) -> Settings:
    """Name the Valkey of `llm-one-api up`, where one was run and the config names no Redis."""
    if settings.redis.url is None and (url := embedded_valkey.url_of(settings.data_dir)):
        return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": url})})
    return settings


@contextmanager
def plugin_of(settings: Settings, name: str) -> Iterator[StatsPlugins]:
    """Give the stats plugins, of which *name* is one, for a block; those that it made are cleaned up."""
    if name not in settings.plugins.stats:
        on = ", ".join(settings.plugins.stats) or "none"
        raise click.ClickException(f"no stats plugin {name!r} is on (plugins.stats: {on})")
    settings = with_redis_of_up(settings)
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
