"""`llm-one-api up` takes SIGHUP for a reload: all its parts go by the new config, and none is started again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from llm_one_api.stores.journal.lock import relay_pid
from tests.harness.processes import wait_until
from tests.harness.product import KEY, OTHER_KEY, Product, config
from tests.harness.product import product as run
from tests.harness.upstream import CHAT, json_answer, scripted


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, Mapping[str, Any]]]:
    with scripted() as upstream:
        upstream.answer(json_answer(200, CHAT))
        made = config(upstream.url, server={"workers": 2})
        with run(tmp_path_factory.mktemp("it"), made) as it:
            yield it, made


def reload(it: Product, made: Mapping[str, Any]) -> None:
    """Put another file in the place of the config, as careful editors do, and have it taken up."""
    new = Path(f"{it.config}.new")
    new.write_text(json.dumps(made))
    new.replace(it.config)
    assert it.process is not None
    it.process.signal(signal.SIGHUP)


def taken_up(it: Product, made: Mapping[str, Any]) -> None:
    """Reload, and wait until all have taken it up: two gateway processes and the relay."""
    before = said(it, "config.reloaded")
    reload(it, made)
    wait_until(lambda: said(it, "config.reloaded") == before + 3, timeout=40, what="all have taken it up")


def said(it: Product, event: str) -> int:
    assert it.process is not None
    return it.process.text().count(event)


def family(it: Product) -> set[int | None]:
    """Name its parts, and the relay, of which the gateway brings one."""
    assert it.process is not None
    parts = {child.pid for child in psutil.Process(it.process.pid).children()}
    return {*parts, relay_pid(it.folder / "data" / "journal")}


def test_prices_keys_and_a_first_quota_hold_without_any_part_being_started_again(
    up: tuple[Product, Mapping[str, Any]],
) -> None:
    it, made = up
    before = family(it)
    first = it.call()
    assert it.record(first.headers["x-request-id"], timeout=60)["cost"] is None

    keys = [{"key": KEY, "user": "alice", "admin": True}]
    taken_up(
        it,
        {
            **made,
            "auth": {"default_auth": {"api_keys": keys}},
            "pricing": {"m": {"per": "1K", "input": "0.001", "output": "0.002"}},
            "limits": {"each_user": {"day": {"tokens": 100_000}}},
        },
    )

    assert {it.call(key=OTHER_KEY).status_code for _ in range(6)} == {401}
    second = it.record(it.call().headers["x-request-id"], timeout=60)
    assert Decimal(second["cost"]) == Decimal("0.00029")
    assert second["quota_tokens"] == 170
    usage = wait_until(
        lambda: (told := it.get("/v1/usage"))["counters_whole"] and told, what="a worker has counted the first quota"
    )
    (limit,) = usage["limits"]
    assert (limit["scope"], limit["limit"]) == ("user:alice", 100_000)
    wait_until(lambda: it.get("/v1/usage")["limits"][0]["used"] >= 170, what="it is charged")
    assert family(it) == before


def test_a_config_with_faults_is_refused_and_up_goes_on(up: tuple[Product, Mapping[str, Any]]) -> None:
    it, made = up
    before = said(it, "config.reloaded")

    reload(it, {**made, "models": {"m": {"api_bass": "http://127.0.0.1:9"}}})

    wait_until(lambda: said(it, "config.refused"), what="it says so")
    assert it.call().status_code == 200
    assert said(it, "config.reloaded") == before


def test_what_wants_a_restart_is_said_in_the_log(up: tuple[Product, Mapping[str, Any]]) -> None:
    it, made = up

    taken_up(it, {**made, "server": {"workers": 3}})

    wait_until(lambda: said(it, "config.restart_needed") >= 2, what="both gateway processes say so")
    assert it.call().status_code == 200
