"""`docs/ledger.md` is true: its queries run, and its tables are those that there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.rollup_tables import rollups_hour
from llm_one_api.stores.ledger.tables import metadata
from tests.harness.databases import empty_database
from tests.harness.records import record

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


def test_every_table_is_on_the_page_and_no_other() -> None:
    [table] = re.findall(r"\| table \|.*?\n\n", PAGE, re.DOTALL)
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line]

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(metadata.tables)


@pytest.mark.parametrize("column", [c.name for c in rollups_hour.columns if c.name not in rollups_hour.primary_key])
def test_every_kind_of_sum_is_on_the_page(column: str) -> None:
    is_usage = column.endswith("tokens") or column == "images"

    assert is_usage or f"`{column}`" in PAGE


def test_its_queries_run_on_postgresql(postgres_url: str, ready_database: str) -> None:
    [queries, booked] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    soon = datetime.now(UTC) + timedelta(hours=1)  # whatever the hour, that is in "today" and what comes after

    with empty_database(postgres_url, ready_database) as url:
        ledger = Ledger(url)
        windows = ("all:day:2026-11-24",)
        charged = {"quota_windows": windows, "quota_tokens": 7}
        ledger.ingest([record(number, at=soon, ttft=number / 100, **charged) for number in range(1, 101)])
        ledger.quotas.reset(windows[0], "by hand", ["tokens"])
        with ledger._engine.connect() as connection:
            costs, times = (connection.exec_driver_sql(query).all() for query in queries.split(";\n")[:2])
            used = connection.exec_driver_sql(booked.replace(";", "")).all()
        ledger.close()

    assert [(window, int(tokens), int(calls)) for window, tokens, calls in used] == [(windows[0], 0, 100)]
    assert [(user, int(calls), float(usd)) for user, calls, usd, _ in costs] == [("sk-test-123", 100, 0.0315)]
    assert [(model, 0.95 <= p95 <= 0.95 * 1.05) for model, p95 in times] == [("gpt-3.5-turbo", True)]
