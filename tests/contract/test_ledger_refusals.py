"""What cannot be kept: a record is set aside, a database that is broken is waited for. On SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from llm_one_api.stores.ledger.ingesting import Ingested, unreadable
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.rollups import TABLES
from llm_one_api.stores.ledger.tables import ledger_seq, refused_records
from llm_one_api.values import Usage, UsageRecord
from tests.harness.databases import empty_database
from tests.harness.records import record

BAD: list[dict[str, Any]] = [
    {"quota_tokens": 2**63},
    {"usage": Usage(images=2**70)},
    {"cost": Decimal("1e30")},
    {"quota_cost": Decimal("Infinity")},
]
NONSENSE: list[dict[str, Any]] = [
    {"cost": Decimal("NaN")},
    {"cost": Decimal("sNaN")},
    {"quota_cost": Decimal("NaN")},
    {"quota_cost": Decimal("sNaN")},
    {"status": 2**32 + 200},
    {"sdk_retry_count": 2**32},
    {"at": datetime(2026, 11, 24, 10)},  # noqa: DTZ001 (that is what is wrong with it)
    {"at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=10)))},
    {"at": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)},
    {"user": "".join(f"{n:x}" for n in range(1200))},
    {"model": "中" * 400 + "".join(f"{n:x}" for n in range(700))},
]


def refused(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """Give what was set aside: reason and line by id."""
    asked = select(refused_records.c.request_id, refused_records.c.reason, refused_records.c.line)
    with ledger._engine.connect() as connection:
        return {name: (reason, line) for name, reason, line in connection.execute(asked)}


def execute(ledger: Ledger, statements: Sequence[str]) -> None:
    with ledger._engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("wrong", BAD, ids=[next(iter(wrong)) for wrong in BAD])
def test_a_record_that_sql_refuses_costs_the_others_nothing(ledger: Ledger, wrong: dict[str, Any]) -> None:
    bad, good = record(1, **wrong), record(2, model="with\x00nul")

    done = ledger.ingest([bad, good], [unreadable("no json", "it is no record")])
    again = ledger.ingest([bad, good])

    assert done == Ingested(new=1, known=0, refused=2, last_seq=1)
    assert again == Ingested(new=0, known=2, refused=0, last_seq=1)
    assert ledger.read(0, 10)[0].record.model == "with\ufffdnul"
    assert bad.request_id in refused(ledger)


@pytest.mark.parametrize("deleted_before", [None, datetime(2020, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("wrong", NONSENSE, ids=[f"{next(iter(wrong))}-{n}" for n, wrong in enumerate(NONSENSE)])
def test_no_figure_nor_name_keeps_a_batch_coming_for_ever(
    ledger: Ledger, wrong: dict[str, Any], deleted_before: datetime | None
) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(update(ledger_seq).values(deleted_before=deleted_before))

    done = ledger.ingest([record(1, **wrong), record(2)])

    assert (done.new, done.refused) == (1, 1)
    [(reason, _)] = refused(ledger).values()
    assert next(iter(wrong)) in reason


def test_the_longest_names_that_a_config_may_give_are_kept(ledger: Ledger) -> None:
    name = "".join(chr(0x1F300 + n % 700) for n in range(200))

    done = ledger.ingest([record(1, user=name, model=name[::-1], upstream=name)])

    assert (done.new, done.refused) == (1, 0)


def test_good_records_are_kept_however_many_bad_ones_came_before_them(ledger: Ledger) -> None:
    for number in range(10):
        bad = record(2 * number, **BAD[number % len(BAD)])

        done = ledger.ingest([bad, record(2 * number + 1)])

        assert (done.new, done.refused) == (1, 1)


def test_an_id_that_the_database_writes_differently_is_known_again(ledger: Ledger) -> None:
    odd, same = record(request_id="a\x00b"), record(request_id="a\ufffdb")

    first, again = ledger.ingest([odd]), ledger.ingest([same, odd, record(2)])

    assert (first.new, again.new, again.known) == (1, 1, 2)


def test_a_refused_record_can_be_taken_in_again_as_it_was(ledger: Ledger) -> None:
    bad = record(end_user='café 中 😀 "q" \x00 \\n', tags=("é",), usage_raw={"ключ": "\x7f"}, quota_tokens=2**70)

    ledger.ingest([bad])

    [(_, line)] = refused(ledger).values()
    assert line.isascii()
    assert msgspec.json.decode(line, type=UsageRecord) == bad


@pytest.mark.parametrize("line", ['{"a":\t"é\\n😀 \\"x\\""}', '{"at":\r\n 1e999}'])
def test_a_line_that_is_json_but_no_record_is_kept_as_json(ledger: Ledger, line: str) -> None:
    ledger.ingest([], [unreadable(line, "it is no record")])

    [(_, kept)] = refused(ledger).values()
    assert kept.isascii()
    assert json.loads(kept) == json.loads(line)


def test_what_is_no_text_at_all_is_kept_readable(ledger: Ledger) -> None:
    ledger.ingest([], [unreadable("é\x00\ud800 not json", "it is no record")])

    [(_, kept)] = refused(ledger).values()
    assert kept == "\\u00e9\\u0000\\ud800 not json"


def test_the_reason_says_what_is_wrong_and_not_the_whole_row(ledger: Ledger) -> None:
    ledger.ingest([record(end_user="somebody", quota_cost=Decimal("1e30"))])

    [(reason, _)] = refused(ledger).values()
    assert reason.startswith("the database refuses it: ")
    assert "overflow" in reason or "too large" in reason
    assert "somebody" not in reason
    assert "\n" not in reason


# --- the database is at fault ------------------------------------------------------------------------------------

FAULTS = {
    "sqlite": {
        "a column is missing": (
            ["ALTER TABLE records RENAME COLUMN ttft TO gone"],
            ["ALTER TABLE records RENAME COLUMN gone TO ttft"],
        ),
        "the table is missing": (["ALTER TABLE records RENAME TO gone"], ["ALTER TABLE gone RENAME TO records"]),
        "a constraint is new": (
            ["CREATE TRIGGER strict BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'no'); END"],
            ["DROP TRIGGER strict"],
        ),
    },
    "postgresql": {
        "a column is missing": (
            ["ALTER TABLE records RENAME COLUMN ttft TO gone"],
            ["ALTER TABLE records RENAME COLUMN gone TO ttft"],
        ),
        "the table is missing": (["ALTER TABLE records RENAME TO gone"], ["ALTER TABLE gone RENAME TO records"]),
        "a constraint is new": (
            ["ALTER TABLE records ADD COLUMN extra TEXT NOT NULL"],
            ["ALTER TABLE records DROP COLUMN extra"],
        ),
    },
}


@pytest.mark.parametrize("fault", FAULTS["sqlite"])
def test_a_database_that_is_broken_keeps_the_batch_coming_and_refuses_no_record(ledger: Ledger, fault: str) -> None:
    broken, repaired = FAULTS["sqlite" if ledger.is_sqlite else "postgresql"][fault]
    execute(ledger, broken)

    with pytest.raises(DatabaseError):
        ledger.ingest([record(1), record(2)])

    execute(ledger, repaired)
    assert refused(ledger) == {}
    assert ledger.ingest([record(1), record(2)]).new == 2


def test_a_right_that_is_missing_refuses_no_record(postgres_url: str) -> None:
    with empty_database(postgres_url) as url:
        ledger = Ledger(url)
        ledger.upgrade()
        role = url.rpartition("/")[2].partition("?")[0]
        execute(ledger, [f"CREATE ROLE {role}", f"GRANT ALL ON ledger_seq, refused_records, closed_periods TO {role}"])
        execute(ledger, [f"GRANT ALL ON SEQUENCE refused_records_id_seq TO {role}"])
        execute(ledger, [f"GRANT SELECT ON records TO {role}"])
        execute(ledger, [f"GRANT ALL ON {table.name} TO {role}" for table in TABLES])
        joined = "&" if "?" in url else "?"
        poor = Ledger(f"{url}{joined}options=-crole%3D{role}")

        with pytest.raises(DatabaseError, match="permission denied"):
            poor.ingest([record(1)])

        execute(ledger, [f"GRANT INSERT ON records TO {role}"])
        done = poor.ingest([record(1)])
        execute(ledger, [f"DROP OWNED BY {role}", f"DROP ROLE {role}"])
        poor.close()
        ledger.close()
    assert (done.new, done.refused) == (1, 0)


def test_a_host_that_is_gone_without_a_word_is_noticed_by_the_kernel(postgres_url: str) -> None:
    said = postgres_url + ("&" if "?" in postgres_url else "?") + "tcp_user_timeout=7000"

    for url, wanted in ((postgres_url, "15000"), (said, "7000")):
        ledger = Ledger(url)
        with ledger._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            found = driver.info.get_parameters()
        ledger.close()

        assert (found["tcp_user_timeout"], found["keepalives_idle"]) == (wanted, "5")


def test_what_was_refused_can_be_tried_again(ledger: Ledger) -> None:
    bad, worse = record(1, quota_tokens=2**63), record(2, quota_tokens=2**63)
    ledger.ingest([bad, worse])

    done = ledger.ingest([record(1), worse], instead_of=[bad.request_id, worse.request_id])

    assert (done.new, done.known, done.refused) == (1, 0, 1)
    assert set(refused(ledger)) == {worse.request_id}
