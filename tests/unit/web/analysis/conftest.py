"""A ledger with a few known calls, and the pages over it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from llm_one_api.errors import InvalidKey
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.values import Caller, Peer, Usage
from llm_one_api.web import errors
from llm_one_api.web.analysis import pages
from tests.harness.databases import give_tables
from tests.harness.records import bare, record

AT = datetime(2026, 11, 24, 16, 30, tzinfo=UTC)
"""Half an hour into a Wednesday of Shanghai's."""
OWN, OTHER = "key_0000aaaa", "key_0000bbbb"
KEYS = {"admin": Caller(key="key_0000ffff", user="root", admin=True), "own": Caller(key=OWN, user="ann")}
DAYS = "from=2026-11-24&to=2026-11-25"
EVIL = '=HYPERLINK("http://evil")'


def whose(api_key: str, _peer: Peer) -> Caller:
    if api_key not in KEYS:
        raise InvalidKey("no")
    return KEYS[api_key]


class Pages:
    """The pages, as callers see them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.told = Told(round(AT.timestamp() * 10**6), {}, [], {})
        app = Flask(__name__)
        errors.register(app)
        pages.register(app, whose, ledger.analysis, ZoneInfo("Asia/Shanghai"), lambda: (self.told, False))
        self._client = app.test_client()

    def ask(self, page: str, query: str = DAYS, *, key: str = "admin", accept: str = "*/*") -> TestResponse:
        headers = {"Authorization": f"Bearer {key}", "Accept": accept}
        return self._client.get(f"/v1/stats/{page}?{query}", headers=headers)

    def fails(self, page: str, query: str = DAYS, *, key: str = "admin") -> tuple[int, Any]:
        """Give the status and the error."""
        answer = self.ask(page, query, key=key)
        assert answer.json is not None
        return answer.status_code, answer.json["error"]

    def told_by(self, page: str, query: str = DAYS, *, key: str = "admin") -> Any:
        answer = self.ask(page, query, key=key)
        assert answer.status_code == 200, answer.text
        return answer.json


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Four calls of ann's by the hour, from half past midnight; one of bob's that failed; one that is unpriced."""
    folder: Path = tmp_path_factory.mktemp("books")
    give_tables(folder / "ledger.db")
    it = Ledger(f"sqlite:///{folder}/ledger.db")
    mine: dict[str, Any] = {"key": OWN, "user": "ann", "model": "gpt-4"}
    hours = [record(n, at=AT + timedelta(hours=n - 1), stream=n == 1, **mine) for n in (1, 2, 3, 4)]
    failed = record(
        5, at=AT, key=OTHER, user="bob", model=EVIL, outcome="timeout", status=504, error="upstream_timeout",
        usage=Usage(), usage_source="none", cost=None,
    )  # fmt: skip
    unpriced = record(6, at=AT, key=OTHER, user="bob", model=EVIL, cost=None)
    refused = bare(7, at=AT + timedelta(days=1), key=OTHER, user="bob", outcome="rejected", status=400)
    dear = record(8, at=AT + timedelta(days=1), key=OTHER, user="bob", cost=Decimal("1.5"), upstream="azure")
    it.ingest([*hours, failed, unpriced, refused, dear])
    yield it
    it.close()


@pytest.fixture(scope="session")
def books(ledger: Ledger) -> Pages:
    """The pages over it. They change nothing."""
    return Pages(ledger)
