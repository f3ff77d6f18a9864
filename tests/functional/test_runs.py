"""One run of the service, one summary of the plugin `memory`: real parts that stop, are killed, or stay."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from llm_one_api.plugins import memory
from tests.harness.parts import Parts, parts
from tests.harness.processes import Process, wait_until
from tests.harness.product import KEY, Product, config, demo_upstream, product
from tests.harness.services import Valkey

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
BLOCK = "📊 内存统计插件 - 最终统计数据"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    with demo_upstream(tmp_path / "demo") as it:
        yield it


def counts(get: Callable[[str], Any], number: int) -> None:
    wait_until(lambda: get("/v1/stats/memory")["total_requests"] == number, what=f"{number} calls are counted")


def blocks(text: str) -> list[str]:
    """Give the number of requests of each summary."""
    return [block.split("总请求数: ")[1].split("\n")[0] for block in text.split(BLOCK)[1:]]


class Life(NamedTuple):
    """What was seen of two runs of `up`, of which the first was killed."""

    at_first: dict[str, Any]
    """What the second one had counted before its first call."""
    before: list[str]
    """The summaries before it was stopped: a worker had ended by then."""
    code: int
    blocks: list[str]
    """All of its summaries: calls were counted after the last."""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    with demo_upstream(folder / "demo") as upstream, product(folder / "up", config(upstream)) as it:
        for _ in range(3):
            it.call()
        counts(it.get, 3)
        it.close()

        it.start()
        wait_until(lambda: said(it).count("A first call") == 2, timeout=60, what="it is up again")
        at_first = it.get("/v1/stats/memory")
        it.call()
        counts(it.get, 1)
        it.part("worker-deliver@")[0].send_signal(signal.SIGTERM)
        wait_until(lambda: "part.died" in said(it), what="the worker has ended")
        it.call()
        counts(it.get, 2)
        before = blocks(said(it))

        pool = it.part("worker-ingest@")[0].children()
        for child in pool:
            child.suspend()
        it.call()
        it.call()
        assert it.process is not None
        it.process.signal(signal.SIGINT)
        wait_until(lambda: BLOCK in said(it), what="the summary is printed")
        for child in pool:
            child.resume()
        code = it.process.popen.wait(30)
        yield Life(at_first, before, code, blocks(said(it)))


def test_a_run_of_up_has_nothing_of_one_that_was_killed(life: Life) -> None:
    assert (life.at_first["total_requests"], life.at_first["newest"]) == (0, [])


def test_a_worker_of_up_that_ends_does_not_end_the_run(life: Life) -> None:
    assert life.before == []


def test_what_is_counted_after_the_summary_is_not_summed_up_again(life: Life) -> None:
    assert life.code == 0
    assert life.blocks == ["2"]


def said(it: Product) -> str:
    assert it.process is not None
    return it.process.text()


class Service:
    """Parts as in production: a gateway, a worker that ingests, and those that deliver."""

    def __init__(self, running: Parts) -> None:
        self.parts = running
        running.tables()
        running.gateway()
        self.others = [running.worker("ingest")]

    def deliver(self, *names: str) -> list[Process]:
        """Start a delivering worker for each of *names*, which take part in the run when this returns."""
        return [self.parts.worker("deliver,jobs", name) for name in names]

    def call(self) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        url = f"{self.parts.url}/v1/chat/completions"
        assert requests.post(url, json=body, headers=AUTHORIZED, timeout=20).status_code == 200

    def get(self, path: str) -> Any:
        return requests.get(self.parts.url + path, headers=AUTHORIZED, timeout=10).json()


@pytest.fixture
def service(upstream: str, session_valkey: Valkey, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    with parts(tmp_path / "parts", config(upstream, redis={"url": redis_url})) as running:
        yield Service(running)


def take_part(valkey: Valkey, count: int) -> bool:
    with valkey.client() as client:
        return bool(client.zcard("oneapi:memory:present") == count)


def test_the_run_goes_on_until_the_last_worker_ends_whether_others_ended_or_were_killed(
    service: Service, session_valkey: Valkey
) -> None:
    killed, first, last = service.deliver("killed", "first", "last")
    wait_until(lambda: take_part(session_valkey, 3), timeout=40, what="all take part")
    service.call()
    counts(service.get, 1)

    first.stop(30)
    after_one = service.get("/v1/stats/memory")["total_requests"]
    service.call()
    counts(service.get, 2)
    killed.kill()
    with session_valkey.client() as client:
        for who in client.zrange("oneapi:memory:present", 0, -1):
            client.zincrby("oneapi:memory:present", -memory.PRESENT_FOR, who)
    wait_until(lambda: present(session_valkey) == 1, timeout=2 * memory.JOIN_EVERY + 10, what="the living one is back")
    last.stop(30)

    assert after_one == 1
    assert blocks(first.text()) == []
    assert blocks(last.text()) == ["2"]
    assert service.get("/v1/stats/memory")["total_requests"] == 0


def present(valkey: Valkey) -> int:
    """Count those who take part as of now."""
    with valkey.client() as client:
        return int(client.zcount("oneapi:memory:present", f"({client.time()[0]}", "+inf"))
