"""Upstreams that are restarted one after the other, in the middle of their calls: no caller notices."""

from __future__ import annotations

from pathlib import Path

from tests.harness.gateway import Gateway, gateway
from tests.harness.processes import wait_until
from tests.harness.product import config
from tests.harness.quick_upstream import quick_upstreams
from tests.harness.services import Valkey
from tests.harness.steady import Steady, connections, steady

RATE = 200


def test_a_rolling_restart_of_three_upstreams_fails_no_call(tmp_path: Path, session_valkey: Valkey) -> None:
    """Each is killed with its calls under way, and comes back on the same port; the config is the usual one."""
    with quick_upstreams(tmp_path, ["a", "b", "c"], 0.1) as upstreams:
        redis = {"url": session_valkey.url, "key_prefix": "rolling:"}
        made = config("http://127.0.0.1:1/v1", server={"workers": 2}, redis=redis)
        entries = [{"name": one.name, "api_base": one.url} for one in upstreams]
        made["models"]["m"] = {"api_key": "sk-upstream-secret-0009", "upstreams": entries}
        with gateway(tmp_path, made) as it, steady(connections(it, 40), rate=RATE, model="m") as load:
            load.goes_on(RATE // 2)
            for one in upstreams:
                one.kill()
                load.goes_on(RATE // 2)
                one.start()
                load.goes_on(RATE // 2)

            load.stop()
            assert [(a.number, a.status, a.body) for a in load.failed] == []
            _assert_records(it, load)


def _assert_records(it: Gateway, load: Steady) -> None:
    """Assert that each call is recorded once, as answered, and that some had to go on to another upstream."""
    ids = {answer.id for answer in load.answers}
    wait_until(lambda: {r.request_id for r in it.records()} >= ids, timeout=10, what="all calls have a record")
    records = it.records()
    assert len(records) == len(ids) == len(load.answers)
    assert {record.outcome for record in records} == {"success"}
    moved = [record for record in records if len({attempt.upstream for attempt in record.attempts}) > 1]
    assert moved
