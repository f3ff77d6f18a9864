"""Workers and ledger are away for two lease times, under load: no quota refills."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Counts
from tests.harness.parts import parts
from tests.harness.processes import wait_until
from tests.harness.product import KEY, OTHER_KEY, config
from tests.harness.services import Valkey, valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted

LEASE = 5.0
"""Seconds: the least that the config allows. The two of them are what this test lasts."""
QUOTA, USED = 5000, 170
BODY: dict[str, Any] = {"model": "m", "max_tokens": 130, "messages": [{"role": "user", "content": "Hello! " * 30}]}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        it.answer(json_answer(200, CHAT))
        yield it


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path / "valkey") as it:
        yield it


class Caller:
    """Calls on, whatever it is told."""

    def __init__(self, url: str, key: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._key = f"{url}/v1/chat/completions", key
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._call_on, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(20)

    def _call_on(self) -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self._key}"
            while not self._enough.wait(0.05):
                answer = session.post(self._url, json=BODY, timeout=20)
                self.answers["ok" if answer.status_code == 200 else answer.json()["error"]["code"]] += 1


@pytest.mark.timeout(90)
def test_no_quota_refills_while_workers_and_ledger_are_away(upstream: Upstream, broker: Valkey, tmp_path: Path) -> None:
    limits = {"users": {"bob": {"total": {"tokens": QUOTA}}}, "each_user": {"total": {"tokens": 10**9}}}
    quota = {"lease": LEASE, "when_unavailable": "refuse"}
    made = config(upstream.url, redis={"url": broker.url}, limits=limits, quota=quota)
    store = LimitStore(broker.url, "oneapi:", timeout=5)
    with parts(tmp_path / "parts", made) as running:
        running.gateway()
        store.recount(0, {})  # there is nobody yet who would
        callers = [Caller(running.url, key) for key in (OTHER_KEY, OTHER_KEY, KEY)]
        bob, alice = callers[:2], callers[2]
        wait_until(lambda: all(it.answers["insufficient_quota"] for it in bob), what="the quota is spent")
        served = [it.answers["ok"] for it in bob]
        over = time.monotonic() + 2 * LEASE
        wait_until(lambda: time.monotonic() > over, timeout=2 * LEASE + 1, what="two leases are over")
        for it in callers:
            it.stop()
        wait_until(lambda: counts(store, "bob").held.requests == 0, what="nothing is reserved")
        before = counts(store, "bob")

    assert sum(it.answers["ok"] for it in bob) <= sum(served) + 1  # one may have been on its way
    assert sum(it.answers["ok"] for it in bob) * USED == before.pending.tokens <= QUOTA
    assert before.booked == (0, 0, 0)
    assert set(alice.answers) == {"ok"}
    store.close()


def counts(store: LimitStore, user: str) -> Counts:
    window = f"user:{user}:total:ever"
    return store.windows([window])[window]
