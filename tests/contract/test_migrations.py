"""What the migrations make is what the code works with, on both databases."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from llm_one_api.stores.ledger.engine import make_engine
from llm_one_api.stores.ledger.schema import upgrade
from llm_one_api.stores.ledger.tables import metadata


def test_the_migrations_make_the_tables_that_the_code_works_with(url: str) -> None:
    engine = make_engine(url)

    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
        names = set(inspect(connection).get_table_names())
    engine.dispose()

    assert found == []
    assert names == {*metadata.tables, "alembic_version"}
