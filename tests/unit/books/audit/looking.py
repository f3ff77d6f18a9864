"""Looks at a ledger, and tampers with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from llm_one_api.books.audit.check import Context, Findings
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import AT

ALWAYS = {"since": datetime(1970, 1, 1, tzinfo=UTC), "until": datetime(9999, 1, 1, tzinfo=UTC)}


def context(ledger: Ledger, **more: Any) -> Context:
    """Look at everything there is."""
    return Context(**{"ledger": ledger, "now": AT, **ALWAYS, **more})


def tamper(ledger: Ledger, sql: str) -> None:
    """Change the database behind the product's back."""
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(sql)


def pairs(found: Findings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Lay the differences out as plain values."""
    return [(dict(each.what), dict(each.says)) for each in found.differences]
