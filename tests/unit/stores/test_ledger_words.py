"""What is told of a database's error."""

from __future__ import annotations

import errno
import os

import psycopg
import pytest
from sqlalchemy.exc import ArgumentError, DataError, OperationalError

from llm_one_api.stores.ledger.engine import make_engine
from llm_one_api.stores.ledger.words import reason

URL = "postgresql://me:pass%20word-0007@nowhere/stats"


@pytest.mark.parametrize("repeated", ["pass word-0007", "pass%20word-0007"])
def test_a_password_that_a_driver_repeats_is_left_out(repeated: str) -> None:
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError(f"no way to me:{repeated}@nowhere"))

    assert reason(error, URL) == "OperationalError: no way to me:***@nowhere"


def test_the_first_line_is_told_the_statement_and_further_lines_are_not() -> None:
    cause = psycopg.DataError("invalid\nDETAIL:  Failing row contains (alice, 4711).")

    assert reason(DataError("INSERT INTO records", {"user": "alice"}, cause), URL) == "DataError: invalid"


def test_what_postgres_names_is_told_with_its_code(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    with engine.connect() as connection, pytest.raises(Exception, match="no_such_table") as raised:
        connection.exec_driver_sql("SELECT * FROM no_such_table")
    engine.dispose()

    assert reason(raised.value, postgres_url) == 'UndefinedTable 42P01: relation "no_such_table" does not exist'


def test_a_disk_is_told_in_its_words() -> None:
    assert reason(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), URL) == "No space left on device"


def test_of_what_is_no_databases_only_the_kind_is_told() -> None:
    assert reason(ArgumentError(URL), URL) == "ArgumentError"
