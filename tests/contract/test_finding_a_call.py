"""One call's record is found by its id, on SQLite and on PostgreSQL."""

from __future__ import annotations

from llm_one_api.stores.ledger.ledger import Ledger
from tests.contract.test_ledger import record


def test_a_call_is_found_by_its_id(ledger: Ledger) -> None:
    one, other = record(), record()
    ledger.ingest([one, other])

    assert ledger.find(one.request_id) == one
    assert ledger.find(other.request_id) == other


def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    ledger.ingest([record()])

    assert ledger.find("no-such-call") is None


def test_another_keys_call_is_not_found(ledger: Ledger) -> None:
    mine, theirs = record(key="key_1"), record(key="key_2")
    ledger.ingest([mine, theirs])

    assert ledger.find(mine.request_id, key="key_1") == mine
    assert ledger.find(theirs.request_id, key="key_1") is None
