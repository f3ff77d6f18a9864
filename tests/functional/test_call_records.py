"""`GET /v1/stats/calls/{request_id}`: one call's record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import requests

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Usage, UsageRecord, fingerprint
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.product import KEY, OTHER_KEY

NOWHERE = "http://127.0.0.1:1/v1"
CALL = UsageRecord(
    request_id="0198c0de-0000-7000-8000-000000000001",
    at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
    model="m",
    user="bob",
    key=fingerprint(OTHER_KEY),
    endpoint="chat",
    outcome="success",
    status=200,
    usage=Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170),
    usage_source="reported",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), {**settings(NOWHERE), "timezone": "Asia/Shanghai"}) as it:
        ledger = Ledger(f"sqlite:///{it.folder}/data/ledger.db")
        ledger.ingest([CALL, msgspec.structs.replace(CALL, request_id="another", key=fingerprint(KEY))])
        ledger.close()
        yield it


def get(running: Gateway, request_id: str, key: str | None) -> requests.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return requests.get(f"{running.url}/v1/stats/calls/{request_id}", headers=headers, timeout=20)


@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["an admin", "its caller"])
def test_a_call_is_shown_to_those_who_may_see_it(running: Gateway, key: str) -> None:
    answer = get(running, CALL.request_id, key)

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["request_id"], shown["user"], shown["outcome"]) == (CALL.request_id, "bob", "success")
    assert shown["usage"]["total_tokens"] == 170
    assert shown["at"] == "2026-11-24T18:00:00.000000+08:00"


@pytest.mark.parametrize("request_id", ["another", "no-such-call"])
def test_anothers_call_looks_to_a_caller_like_one_that_is_not_there(running: Gateway, request_id: str) -> None:
    answer = get(running, request_id, OTHER_KEY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_call")


def test_without_a_key_nothing_is_shown(running: Gateway) -> None:
    answer = get(running, CALL.request_id, None)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_ledger_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    made = {**settings(NOWHERE), "ledger": {"url": f"sqlite:///{tmp_path}/no-such-folder/ledger.db"}}
    with gateway(tmp_path, made) as away:
        answer = get(away, CALL.request_id, KEY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["retry-after"] == "5"
