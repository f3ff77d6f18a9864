"""An upgrade while others are at work: who reads goes on, who writes waits, and older code writes nothing any more."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from llm_one_api.stores.ledger import schema
from llm_one_api.stores.ledger.engine import make_engine
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.locking import LAYOUT, SchemaBehind
from llm_one_api.stores.ledger.migrations import waiting
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.stores.ledger.quota_tables import quota_sums
from llm_one_api.stores.ledger.rollup_tables import LATENCIES, ROLLUPS, TRAFFIC, latencies_day_hours
from llm_one_api.stores.ledger.tables import ledger_seq
from llm_one_api.stores.ledger.taken_back import taken_back
from llm_one_api.stores.ledger.words import reason
from tests.harness.databases import empty_database
from tests.harness.older import upgrade_to
from tests.harness.processes import wait_until
from tests.harness.records import AT, record

OLDER_LOCK = text("UPDATE ledger_seq SET n = (ledger_seq.n + 0) RETURNING n, deleted_before")
"""What all versions from before 0008 begin with that write anything."""
RESTART = "restart it with the newer one"


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[Engine]:
    """An older ledger in PostgreSQL."""
    with empty_database(postgres_url) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            upgrade_to(connection, "0004")
        yield engine
        engine.dispose()


@contextmanager
def _upgrading(engine: Engine) -> Iterator[None]:
    """Upgrade in a thread, which is over with after the block."""
    failures: list[Exception] = []

    def upgrade() -> None:
        try:
            schema.upgrade(engine)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=upgrade)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert failures == []
    assert not thread.is_alive()


def _waits_for(engine: Engine, table: str, mode: str) -> bool:
    asked = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database AND datname = current_database() "
        "WHERE relation = CAST(:name AS regclass) AND mode = :mode AND NOT granted"
    )
    with engine.connect() as connection:
        return bool(connection.execute(asked, {"name": table, "mode": mode}).scalar_one())


def test_while_sums_are_added_up_who_reads_goes_on_and_older_writers_fail_when_it_is_done(postgresql: Engine) -> None:
    said: list[str] = []

    def write() -> None:
        try:
            with postgresql.begin() as connection:
                connection.execute(OLDER_LOCK)
        except DatabaseError as error:
            said.append(reason(error, str(postgresql.url)))

    writer = threading.Thread(target=write)
    with postgresql.connect() as others:
        others.exec_driver_sql("LOCK TABLE rollups_hour IN ACCESS EXCLUSIVE MODE")
        with _upgrading(postgresql):
            wait_until(lambda: _waits_for(postgresql, "rollups_hour", "AccessShareLock"))
            writer.start()
            wait_until(lambda: _waits_for(postgresql, "ledger_seq", "RowExclusiveLock"))
            with postgresql.connect() as reading:
                reading.exec_driver_sql("SET LOCAL lock_timeout = 1")
                last = reading.execute(select(ledger_seq.c.n)).scalar_one()
            others.rollback()
    writer.join(60)

    assert last == 0
    assert len(said) == 1
    assert RESTART in said[0]


@pytest.mark.parametrize("table", ["ledger_seq", "job_runs"])
def test_an_upgrade_waits_for_a_long_look_and_lets_others_read_meanwhile(postgresql: Engine, table: str) -> None:
    with postgresql.connect() as backup:
        backup.exec_driver_sql(f"SELECT count(*) FROM {table}")
        with _upgrading(postgresql):
            wait_until(lambda: _waits_for(postgresql, table, "AccessExclusiveLock"))
            with postgresql.connect() as reading:
                reading.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
                last = reading.execute(select(ledger_seq.c.n)).scalar_one()
            backup.rollback()

    with postgresql.connect() as connection:
        assert (last, connection.execute(select(ledger_seq.c.layout)).scalar_one()) == (0, LAYOUT)


def test_who_writes_to_tables_that_were_not_upgraded_is_told_what_to_do(postgresql: Engine, tmp_path: Path) -> None:
    sqlite = make_engine(f"sqlite:///{tmp_path}/ledger.db")
    with sqlite.begin() as connection:
        upgrade_to(connection, "0004")

    for engine in (postgresql, sqlite):
        behind = Ledger(engine.url.render_as_string(hide_password=False))
        with pytest.raises(SchemaBehind, match="llm-one-api db upgrade"):
            behind.ingest([record(1)])
        behind.close()
    sqlite.dispose()


def test_an_upgrade_that_gives_up_says_who_was_in_its_way(postgresql: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LONGEST", 0.0)
    monkeypatch.setattr(waiting, "_WAIT_MS", 50)
    with postgresql.connect() as backup:
        backup.execute(select(ledger_seq.c.n))
        with pytest.raises(TimeoutError) as caught:
            schema.upgrade(postgresql)

    assert "pg_stat_activity" in reason(caught.value, str(postgresql.url))
    assert schema.revision(postgresql) == "0004"


def test_code_of_before_the_upgrade_keeps_nothing_and_is_told_why(ledger: Ledger, url: str) -> None:
    ledger.ingest([record(1)])

    with pytest.raises((IntegrityError, OperationalError)) as caught, ledger._engine.begin() as connection:
        connection.execute(OLDER_LOCK)

    assert RESTART in reason(caught.value, url)
    assert ledger.ingest([record(1), record(2)]).new == 1


@pytest.mark.parametrize("layout", [LAYOUT - 1, LAYOUT + 1])
def test_who_knows_another_layout_writes_nothing_and_is_told_why(ledger: Ledger, url: str, layout: int) -> None:
    ledger.ingest([record(1, cost=None)])
    with ledger._engine.begin() as connection:
        connection.execute(update(ledger_seq).values(layout=layout))
    price = Change(seq=1, before=None, cost=Decimal(1), price_source="configured", price_date=None)

    with pytest.raises(SchemaBehind) as caught:
        ledger.ingest([record(2)])
    with pytest.raises(SchemaBehind):
        ledger.prices.change([price])
    with pytest.raises(SchemaBehind):
        ledger.retention.delete_quarters(AT + timedelta(days=9))

    assert "Restart" in reason(caught.value, url)
    assert [kept.record for kept in ledger.read(0, 9)] == [record(1, cost=None)]


def test_what_writers_add_to_is_that_of_this_layout() -> None:
    kept = [*ROLLUPS.values(), *TRAFFIC.values(), *LATENCIES.values(), latencies_day_hours, quota_sums, taken_back]
    laid_out = "\n".join(f"{table.name}: {' '.join(table.columns.keys())}" for table in kept)

    digest = hashlib.sha256(laid_out.encode()).hexdigest()[:8]

    # Not so? If code of before would leave something out, count LAYOUT up, and `ledger_seq.layout` in the migration.
    assert (LAYOUT, digest) == (1, "56e30517")
