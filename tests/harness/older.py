"""Ledgers as older versions left them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from llm_one_api.stores.ledger import schema


def upgrade_to(connection: Connection, revision: str) -> None:
    """Make the tables, as they were at *revision*."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
