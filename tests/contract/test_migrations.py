"""What the migrations make is what the code works with, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, insert, inspect, select

from llm_one_api.stores.ledger.bulk import Adding
from llm_one_api.stores.ledger.engine import make_engine
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.rollup_tables import latencies_quarter, rollups_hour, rollups_quarter
from llm_one_api.stores.ledger.rows import to_row
from llm_one_api.stores.ledger.schema import upgrade
from llm_one_api.stores.ledger.sums import HOUR, Sums, hour_of
from llm_one_api.stores.ledger.tables import ledger_seq, metadata, records
from llm_one_api.stores.limits.messages import Amount
from tests.harness.older import upgrade_to
from tests.harness.records import AT, record


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


def test_an_upgrade_makes_the_sums_of_the_calls_that_are_there(url: str) -> None:
    ledger = Ledger(url)
    calls = [record(number, at=AT + timedelta(hours=7 * number), cost=None) for number in range(5)]
    with ledger._engine.begin() as connection:
        upgrade_to(connection, "0002")
        rows = [to_row(call, seq) for seq, call in enumerate(calls, 1)]
        for row in rows:
            del row["quota_windows"]
        connection.execute(insert(records), rows)
        connection.exec_driver_sql("UPDATE ledger_seq SET n = 5")

    ledger.upgrade()
    differences = list(ledger.rollups.differences(AT, AT + timedelta(days=9)))
    with ledger._engine.connect() as connection:
        hours = connection.execute(select(rollups_hour.c.slot, rollups_hour.c.unpriced)).all()
    ledger.ingest([record(9)])
    last = ledger.last_seq()
    ledger.close()

    assert differences == []
    assert len(hours) == 5
    assert last == 6


def test_calls_from_before_there_were_quotas_are_charged_to_none(url: str) -> None:
    ledger = Ledger(url)
    with ledger._engine.begin() as connection:
        upgrade_to(connection, "0003")
        row = to_row(record(1), 1)
        del row["quota_windows"]
        connection.execute(insert(records), [row])
        connection.exec_driver_sql("UPDATE ledger_seq SET n = 1")

    ledger.upgrade()
    ledger.ingest([record(2, quota_windows=("all:total:ever",), quota_tokens=170)])
    kept = [each.record for each in ledger.read(0, 10)]
    booked = ledger.quotas.booked(["all:total:ever"])
    ledger.close()

    assert kept == [record(1), record(2, quota_windows=("all:total:ever",), quota_tokens=170)]
    assert booked == {"all:total:ever": Amount(170, 1, 0)}


def test_coarser_sums_are_made_from_those_that_are_there(url: str) -> None:
    ledger = Ledger(url)
    hours = {n: record(n, at=AT + timedelta(hours=n), user=f"u{n % 2}") for n in range(4)}
    with ledger._engine.begin() as connection:
        upgrade_to(connection, "0004")
        connection.execute(insert(records), [to_row(call, seq) for seq, call in enumerate(hours.values(), 1)])
        connection.exec_driver_sql("UPDATE ledger_seq SET n = 4")
        sums = Sums()
        for seq, call in enumerate(hours.values(), 1):
            sums.add(to_row(call, seq))
        kept = {table: rows for table, rows in sums.tables() if not table.name.startswith("traffic")}
        for table, rows in kept.items():
            Adding(table, ledger._engine.dialect)(connection, rows)
        # Retention has deleted the quarters of the first hour.
        connection.execute(delete(rollups_quarter).where(rollups_quarter.c.slot < hour_of(AT) + HOUR))
        connection.execute(delete(latencies_quarter).where(latencies_quarter.c.slot < hour_of(AT) + HOUR))

    ledger.upgrade()
    with ledger._engine.connect() as connection:
        since = connection.execute(select(ledger_seq.c.quarters_since)).scalar_one()
    differences = list(ledger.rollups.differences(AT + HOUR, AT + timedelta(days=9)))
    total = sum(row.sums.requests for row in ledger.analysis.totals())
    ledger.close()

    assert since == hour_of(AT) + HOUR
    assert differences == []
    assert total == 4


def test_who_opens_an_sqlite_ledger_while_it_is_upgraded_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_one_api.stores.ledger.engine.BUSY_SECONDS", 0.01)
    url = f"sqlite:///{tmp_path}/ledger.db"
    first, second = make_engine(url), make_engine(url)
    with first.connect() as upgrading, upgrading.begin():
        waiting = threading.Thread(target=upgrade, args=[second])
        waiting.start()
        waiting.join(0.3)
        waited = waiting.is_alive()
    waiting.join(30)
    with second.connect() as connection:
        names = inspect(connection).get_table_names()
    first.dispose()
    second.dispose()

    assert waited
    assert set(metadata.tables) <= set(names)
