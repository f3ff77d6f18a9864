"""Many callers at a quota's end, in several processes of which some are killed: it holds, and nothing stays reserved.

`make quota` runs 50 seeds of it; the seed decides which process is killed, and when.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from llm_one_api.stores.journal.lock import relay_pid
from llm_one_api.stores.limits.messages import Counts
from llm_one_api.stores.limits.store import LimitStore
from tests.harness.gateway import settings
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.services import Valkey, valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted

SEEDS = int(os.environ.get("QUOTA_SEEDS", "1"))
CALLERS, PROCESSES, KILLS = 64, 4, 2
QUOTA = 50_000
USED = 170
"""Tokens of one answer (`CHAT`)."""
MOST = 130
"""`max_tokens`: with its input, more than an answer uses, so that what is reserved is never too little."""
LEASE = 5.0
UNSURE = "limits_unavailable"
"""What is answered while the store takes more than 50 ms, as it may on a busy machine."""
BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": MOST,
    "messages": [{"role": "user", "content": "Hello, you there! " * 20}],
}


def key_of(seed: int) -> str:
    return f"sk-quota-{seed:04}-0123456789"


class Product:
    """gunicorn with several processes and the relay that it starts; no worker, so nothing is ever booked."""

    def __init__(self, folder: Path, upstream: Upstream, redis: Valkey) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.journal = folder / "data" / "journal"
        config = {
            **settings(upstream.url, workers=PROCESSES, port=port),
            "redis": {"url": redis.url},
            "auth": {"default_auth": {"api_keys": [{"key": key_of(n), "user": f"user-{n}"} for n in range(SEEDS)]}},
            "limits": {"each_user": {"day": {"tokens": QUOTA}}},
            "quota": {"lease": LEASE, "when_unavailable": "refuse"},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        argv: list[str | Path] = [BIN / "gunicorn", "-c", "python:llm_one_api.web.gunicorn_conf", "wsgi:application"]
        env = {"LLM_ONE_API_CONFIG": str(folder / "config.yaml")}
        self.process = Process("gunicorn", argv, folder=folder, env=env)
        self.store = LimitStore(redis.url, "oneapi:", lease=LEASE)

    @property
    def workers(self) -> list[int]:
        relay = relay_pid(self.journal)
        return [child.pid for child in psutil.Process(self.process.pid).children() if child.pid != relay]

    def ready(self) -> bool:
        assert self.process.alive, self.process.text()[-3000:]
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        return False

    def counts(self, seed: int) -> Counts:
        names = [name for name in self.store.all_windows() if name.startswith(f"user:user-{seed}:")]
        return self.store.windows(names)[names[0]]

    def kill_one(self, chance: random.Random) -> None:
        if workers := self.workers:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(sorted(workers)), signal.SIGKILL)

    def close(self) -> None:
        relay = relay_pid(self.journal)
        self.process.kill()
        if relay:
            with suppress(ProcessLookupError):
                os.kill(relay, signal.SIGKILL)
        wait_until(lambda: relay_pid(self.journal) is None, what="no relay is left")
        self.store.close()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("quota")
    with scripted() as upstream, valkey(folder / "valkey") as redis:
        upstream.answer(json_answer(200, CHAT))
        it = Product(folder, upstream, redis)
        try:
            wait_until(lambda: it.ready() and relay_pid(it.journal), timeout=60, what="it answers and has a relay")
            it.store.recount(0, {})
            yield it
        finally:
            it.close()


class Callers:
    """Call until they are told that the quota is spent."""

    def __init__(self, url: str, key: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._key = f"{url}/v1/chat/completions", key
        self._lock = threading.Lock()
        self._until = time.monotonic() + 60
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    @property
    def working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def have(self, answers: int) -> bool:
        return self.answers["ok"] >= answers or not self.working

    def _work(self) -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self._key}"
            refused = 0
            while refused < 3 and time.monotonic() < self._until:
                try:
                    answer = session.post(self._url, json=BODY, timeout=20)
                    what = "ok" if answer.status_code == 200 else answer.json()["error"]["code"]
                except requests.RequestException:
                    what = "killed"
                refused = refused + 1 if what == "insufficient_quota" else 0
                with self._lock:
                    self.answers[what] += 1


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_quota_is_never_overshot_and_leaves_nothing_reserved(product: Product, seed: int) -> None:
    chance = random.Random(seed)
    moments = sorted(chance.randrange(10, QUOTA // USED) for _ in range(KILLS))
    callers = Callers(product.url, key_of(seed))

    for moment in moments:
        wait_until(partial(callers.have, moment), timeout=60, what="so many answers")
        product.kill_one(chance)
    wait_until(lambda: not callers.working, timeout=70, what="the quota is spent")
    wait_until(lambda: product.counts(seed).held.requests == 0, timeout=3 * LEASE, what="nothing is reserved")

    booked, pending, held = product.counts(seed)
    used = booked.tokens + pending.tokens
    assert callers.answers["insufficient_quota"] >= 3 * CALLERS - 1, callers.answers
    assert set(callers.answers) <= {"ok", "insufficient_quota", "killed", UNSURE}, callers.answers
    assert held == (0, 0, 0)
    assert callers.answers["ok"] * USED <= used <= QUOTA
    assert used >= QUOTA - CALLERS * (MOST + len(json.dumps(BODY)))
