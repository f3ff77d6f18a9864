"""What gateway processes tell of themselves, on each server: counted once, whoever ends, and whatever is said again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from llm_one_api.stores.gateways import GatewayStore, JournalFigures
from llm_one_api.stores.gateways import store as module
from tests.contract.conftest import Home
from tests.harness.services import Valkey

FIGURES = JournalFigures(relay_tells=True, bytes=5, lost=0, lag_records=3, lag_seconds=0.5, unsettled=1)
SILENT = JournalFigures(relay_tells=False, bytes=None, lost=None)


@pytest.fixture
def store(limit_home: Home, limit_server: Valkey) -> Iterator[GatewayStore]:
    with closing(GatewayStore(limit_server.url, "t:", timeout=5)) as it:
        yield it


def test_what_processes_have_counted_is_added_up_and_stays_when_they_end(store: GatewayStore) -> None:
    store.tell("one", {"failures": (0, 3)})
    store.tell("two", {"failures": (0, 4), "others": (0, 0)})
    store.tell("one", {"failures": (3, 5)})

    assert store.read().counts == {"failures": 9}


def test_what_is_said_again_for_want_of_an_answer_is_counted_once(store: GatewayStore) -> None:
    store.tell("one", {"failures": (0, 3)})
    store.tell("one", {"failures": (0, 3)})
    store.tell("one", {"failures": (0, 4)})

    assert store.read().counts == {"failures": 4}


def test_a_process_that_was_forgotten_goes_on_from_where_it_knows_it_was(
    store: GatewayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tell("one", {"failures": (0, 3)})
    monkeypatch.setattr(module, "FORGET_SECONDS", -10.0)  # whoever told anything is forgotten at the next word
    store.tell("two", {"failures": (0, 0)})
    monkeypatch.undo()

    store.tell("one", {"failures": (3, 7)})

    assert store.read().counts == {"failures": 7}


def test_a_server_that_lost_its_data_counts_on_from_then(store: GatewayStore, limit_home: Home) -> None:
    store.tell("one", {"failures": (0, 3)})
    limit_home.client.flushall()

    store.tell("one", {"failures": (3, 5)})

    assert store.read().counts == {"failures": 2}


def test_a_journal_is_told_of_as_it_was_told_last_and_no_longer_than_it_is_true(
    store: GatewayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tell("one", {}, ("journal-a", SILENT))
    store.tell("two", {}, ("journal-b", FIGURES))
    store.tell("one", {}, ("journal-a", FIGURES))
    fresh = store.read().journals
    monkeypatch.setattr(module, "FRESH_SECONDS", -10.0)

    assert fresh == {"journal-a": FIGURES, "journal-b": FIGURES}
    assert store.read().journals == {}
