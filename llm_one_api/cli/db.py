"""`llm-one-api db`: the ledger's tables."""

from __future__ import annotations

from pathlib import Path

import click

from llm_one_api.errors import ConfigError
from llm_one_api.settings import load, masked
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.locking import SchemaBehind
from llm_one_api.stores.ledger.words import reason


@click.group()
def command() -> None:
    """Look after the ledger's tables."""


@command.command()
@click.option("--config", type=click.Path(path_type=Path), help="The config file.")
def upgrade(config: Path | None) -> None:
    """Make the tables, or bring them up to date. Safe to run twice, and by two at a time."""
    try:
        settings = load(config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    url = settings.ledger.url
    try:
        ledger = Ledger(url)
        try:
            ledger.upgrade()
        finally:
            ledger.close()
    except SchemaBehind as error:
        raise click.ClickException(str(error)) from None
    except (DatabaseError, OSError) as error:
        raise click.ClickException(f"the ledger {masked(url)} cannot be upgraded: {reason(error, url)}") from None
    click.echo(f"the ledger at {masked(url)} is up to date")
