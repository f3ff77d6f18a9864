"""Calls on their way over upstreams, without any: what is judged is made by the test."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import gevent

from llm_one_api.gateway.balance import Balance, Trip
from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.gateway.upstreams.health import Condition
from llm_one_api.gateway.upstreams.member import Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.watch import Visit
from llm_one_api.plugins.interfaces import LoadBalanceStrategy, LogFile, PluginContext
from llm_one_api.targets import Balance as Settings
from llm_one_api.targets import ModelRoute, Target, Upstream

CHAT = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "chat")
EMBEDDINGS = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "embeddings")
CONTEXT = PluginContext(zone=ZoneInfo("UTC"), log_file=LogFile(file=Path("x")), redis_url="")
STRATEGIES = ("round_robin", "random", "weighted", "least_connections", "least_latency")


class Answer:
    """An upstream's answer, as far as it is judged."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.discarded = False

    def refusal(self, _visit: Visit) -> bytes:
        return self.body

    def discard(self) -> None:
        self.discarded = True


class First(LoadBalanceStrategy):
    """Takes the first."""

    def choose(self, among: Any) -> Any:
        """Choose it."""
        return among[0]


def target(name: str, model: str = "m", *, weight: int = 1, **upstream: Any) -> Target:
    made = Upstream(name=name, base_url=f"http://{name}/v1", **upstream)
    return Target(model=model, upstream_model=model, upstream=made, weight=weight)


def route(*targets: Target, fallbacks: tuple[str, ...] = (), **settings: Any) -> ModelRoute:
    return ModelRoute(
        model=targets[0].model,
        targets=targets,
        balance=Settings(**{"strategy": "first", **settings}),
        fallbacks=fallbacks,
    )


def visit() -> Visit:
    return Visit(-1, gevent.getcurrent(), drains=False)


def begin(
    members: Members,
    to: ModelRoute,
    *others: ModelRoute,
    endpoint: Endpoint = CHAT,
    by: Visit | None = None,
    again: bool = True,
) -> Trip:
    return Balance(members)(to, lambda: others, endpoint, by or visit(), started=time.monotonic(), again=again)


def member(members: Members, name: str, model: str = "m") -> Member:
    found = members.get(f"{model}\t{name}")
    assert found is not None
    return found


def rest(one: Member, seconds: float = 60.0) -> None:
    now = time.time()
    one.health.adopt(Condition(state="ejected", why="http_500", since=now, until=now + seconds, rests=1))


def judged(trip: Trip, status: int, **of: Any) -> bool:
    """Tell whether an answer is passed on."""
    answer = Answer(status, **of)
    found = trip.judge(answer, again=True)  # type: ignore[arg-type]  # a small one of the test's
    assert answer.discarded == (found is None)
    return found is not None
