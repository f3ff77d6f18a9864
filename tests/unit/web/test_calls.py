"""`GET /v1/stats/calls/{request_id}`, asked for what can be no id."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Flask

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Caller
from llm_one_api.web import calls, errors
from tests.harness.databases import empty_database


def test_an_id_that_no_database_takes_is_not_found(postgres_url: str, ready_database: str) -> None:
    app = Flask(__name__)
    errors.register(app)
    with empty_database(postgres_url, ready_database) as url:
        ledger = Ledger(url, keep_connections=False)
        calls.register(app, lambda _key, _peer: Caller(key="key_0", user="u", admin=True), ledger, ZoneInfo("UTC"))

        answers = [app.test_client().get(f"/v1/stats/calls/{name}").status_code for name in ("x%00y", "%F0%90%8D%88")]
        ledger.close()

    assert answers == [404, 404]
