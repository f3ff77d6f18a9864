"""Measures what admission costs, by `.venv/bin/python -m benchmarks.admission`: CPU a call, and how long it takes.

32 greenlets admit and end calls as fast as they can, through the gateway's own parts and a Valkey of their own, with a
rate of requests and one of tokens, a number of calls at a time, and three quotas each; then 32 with calls of 100 ms on
average; then one alone. Each call's time is that of its admission.
"""

from __future__ import annotations

# ruff: noqa: E402 (gevent first)
from gevent import monkey

monkey.patch_all()

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import gevent
import psutil

from llm_one_api.dialects.asked import read_request
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.read import Request
from llm_one_api.limiting import Limiting
from llm_one_api.settings import load
from llm_one_api.stores.limits.store import LimitStore
from llm_one_api.values import Call, Caller, Usage
from tests.harness.services import valkey

CALLS = 40_000
LIMITS = {
    "each_key": {"requests_per_minute": 10**8, "tokens_per_minute": 10**12, "max_concurrent": 10**6},
    "each_user": {"day": {"tokens": 10**12}, "month": {"tokens": 10**12, "requests": 10**9}},
    "everyone": {"day": {"tokens": 10**14}},
}
BODY = json.dumps(
    {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello. " * 130}]}
).encode()
USAGE = Usage(prompt_tokens=200, completion_tokens=50, total_tokens=250)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, valkey(Path(folder) / "valkey") as redis:
        config = Path(folder) / "config.yaml"
        models = {"m": {"api_base": "http://127.0.0.1:9/v1"}}
        config.write_text(json.dumps({"models": models, "limits": LIMITS, "redis": {"url": redis.url}}))
        settings = load(config)
        LimitStore(settings.redis_url, settings.redis.key_prefix).recount(0, {})
        limiting = Limiting(settings)
        limits = limiting.by(settings, settings.limit_rules(), settings.pricer())
        assert limits is not None
        limiting.start()
        caller, target = Caller(key="key_3f9a1c22", user="alice"), settings.routes()["m"].targets[0]
        request = Request(model="m", body=BODY, asked=read_request(BODY))
        took: list[float] = []

        def work(name: str, count: int, pause: float) -> None:
            for number in range(count):
                call = Call(id=f"{name}-{number}", started=0.0, endpoint="chat", api_key="", path="/", body=None)  # type: ignore[arg-type]
                began = time.perf_counter()
                grant = limits.reserve(call, caller, ENDPOINTS[0], request, target)
                took.append(time.perf_counter() - began)
                gevent.sleep(random.expovariate(1 / pause) if pause else 0.0)
                grant.release(USAGE)

        print("| at a time | CPU µs a call, gateway | CPU µs a call, Valkey | p50 ms | p99 ms |\n|---|---|---|---|---|")
        for callers, count, pause in ((32, CALLS // 32, 0.0), (32, 150, 0.1), (1, 2000, 0.0)):
            took.clear()
            server = psutil.Process(redis.process.pid) if redis.process else None
            before, theirs = time.process_time(), _cpu(server)
            gevent.joinall([gevent.spawn(work, f"{callers}{pause}-{n}", count, pause) for n in range(callers)])
            gevent.sleep(0.05)
            each = 1e6 / len(took)
            ours, theirs = (time.process_time() - before) * each, (_cpu(server) - theirs) * each
            took.sort()
            p50, p99 = took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3
            what = f"{callers}, calls of {pause:g} s" if pause else str(callers)
            print(f"| {what} | {ours:.0f} | {theirs:.0f} | {p50:.2f} | {p99:.2f} |")
            sys.stdout.flush()
        limiting.stop()


def _cpu(server: psutil.Process | None) -> float:
    return 0.0 if server is None else sum(server.cpu_times()[:2])


if __name__ == "__main__":
    main()
