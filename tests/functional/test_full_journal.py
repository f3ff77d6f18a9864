"""More waits than `journal.max_bytes`, in a real gateway: served or refused as told, and the bound is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.stores.journal.entries import Lost
from llm_one_api.stores.journal.segments import ACKED, list_segments, measure
from tests.harness.calls import entries
from tests.harness.gateway import Gateway, gateway, id_of, read_until, settings
from tests.harness.processes import wait_until
from tests.harness.product import OTHER_KEY
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted, waits_for_go

MAX_BYTES = 20_000


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


def bounded(upstream: Upstream, on_full: str) -> dict[str, Any]:
    return {**settings(upstream.url), "journal": {"max_bytes": MAX_BYTES, "on_full": on_full}}


def page(it: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = it.ask("GET", "/v1/stats/pipeline").json()
    return found


def fill(it: Gateway) -> list[str]:
    """Make calls until as much waits as may; gives their ids."""
    made = []
    while not page(it)["journal"]["full"]:
        answer = it.post()
        assert answer.status_code == 200
        made.append(answer.headers["x-request-id"])
    return made


def losses(journal: Path) -> list[int]:
    return [each.records for each in entries(journal) if isinstance(each, Lost)]


def make_room(it: Gateway) -> None:
    """Do as the relay does with what is in the ledger."""
    wait_until(lambda: len(list_segments(it.journal)) > 1, what="the present segment has ended")
    (it.journal / ACKED).mkdir(exist_ok=True)
    for name in list_segments(it.journal)[:-1]:
        (it.journal / str(name)).rename(it.journal / ACKED / str(name))
    assert not page(it)["journal"]["full"]


def test_beyond_the_bound_calls_are_served_and_counted_as_lost(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, bounded(upstream, "serve")) as it:
        upstream.answer(waits_for_go)
        with it.begin(stream=True) as sock:
            begun_before = id_of(read_until(sock, b'"a"'))
            upstream.scripts = [json_answer(200, CHAT)]
            before = fill(it)
            size = measure(it.journal).bytes

            during = [it.post() for _ in range(10)]
            upstream.seen[0].go.set()
            read_until(sock, b"[DONE]")
            told = wait_until(  # the process may sync in between, and tell them in parts
                lambda: [parts for parts in [losses(it.journal)] if sum(parts) >= 10],
                what="the losses are in the journal",
            )[0]
            grown = measure(it.journal).bytes - size
            recorded = {record.request_id for record in it.records()}

        make_room(it)
        after = it.post()

        assert {answer.status_code for answer in (*during, after)} == {200}
        assert recorded == {begun_before, *before}
        assert sum(told) == 10
        assert grown < 4000, "a few copies of the one open call, its end, and what says how much was lost"
        assert it.record(after.headers["x-request-id"]).outcome == "success"


def test_beyond_the_bound_no_call_is_taken_where_so_configured(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, bounded(upstream, "refuse")) as it:
        upstream.answer(json_answer(200, CHAT))
        fill(it)
        asked = len(upstream.seen)

        refused = it.post()
        (ready,) = wait_until(
            lambda: [each for each in [it.ask("GET", "/health/ready")] if each.status_code == 503],
            what="it is not ready",
        )
        make_room(it)
        after = it.post()

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "journal_full")
        assert ready.json() == {"status": "journal_full"}
        assert after.status_code == 200
        assert len(upstream.seen) == asked + 1


def test_the_page_is_for_administrators_and_lives_without_a_ledger(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, bounded(upstream, "serve")) as it:
        upstream.answer(json_answer(200, CHAT))
        it.post()
        whole = page(it)
        forbidden = it.ask("GET", "/v1/stats/pipeline", key=OTHER_KEY)
        nobody = it.ask("GET", "/v1/stats/pipeline", key="sk-wrong")
        for path in (tmp_path / "data").glob("ledger.db*"):
            path.unlink()
        without = page(it)

        assert (forbidden.status_code, forbidden.json()["error"]["code"]) == (403, "admin_only")
        assert nobody.status_code == 401
        assert whole["journal"] == {
            "bytes": measure(it.journal).bytes,
            "segments": 1,
            "max_bytes": MAX_BYTES,
            "full": False,
            "on_full": "serve",
        }
        assert whole["relay"]["alive"] is True  # the test holds its lock
        assert whole["ledger"] == {"last_seq": 0, "refused_records": {}}
        assert (without["ledger"], without["consumers"]) == (None, None)
        assert without["journal"] == whole["journal"]
