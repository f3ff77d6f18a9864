"""`llm-one-api db`: the ledger's tables."""

from __future__ import annotations

from pathlib import Path

import click

from llm_one_api.errors import ConfigError
from llm_one_api.settings import load, masked
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger


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
    ledger = Ledger(settings.ledger.url)
    try:
        ledger.upgrade()
    except DatabaseError as error:
        click.echo(f"error: {masked(settings.ledger.url)} cannot be upgraded: {type(error).__name__}", err=True)
        raise SystemExit(1) from None
    finally:
        ledger.close()
    click.echo(f"the ledger at {masked(settings.ledger.url)} is up to date")
