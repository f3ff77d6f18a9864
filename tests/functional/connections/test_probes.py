"""Probes of upstreams, over real sockets: what is asked, what counts as an answer, who asks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest

from llm_one_api.gateway.pool import Pools
from llm_one_api.gateway.upstreams.health import Health
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.probe import LONGEST_BODY
from llm_one_api.gateway.upstreams.probing import LOOK_EVERY, UNSERVED_SECONDS, Probing
from llm_one_api.targets import DIRECT, Balance, Link, ModelRoute, Target
from llm_one_api.targets import Upstream as Place
from tests.harness.certificates import Authority
from tests.harness.http_proxy import http_proxy
from tests.harness.processes import free_port, wait_until
from tests.harness.upstream import Conversation, Upstream, json_answer, scripted

MODELS = b'{"object":"list","data":[]}'


@dataclass
class Watched:
    """An upstream of a model that keeps what it is told."""

    target: Target
    interval: float | None = 30.0
    health: Health = field(default_factory=lambda: Health(max_failures=3, cooldown=30.0))
    told: list[str | None] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.target.model}\t{self.target.upstream.name}"

    def probed(self, error: str | None) -> None:
        self.told.append(error)


@dataclass
class All:
    members: list[Watched]

    def all(self) -> list[Watched]:
        return self.members


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as one:
        one.answer(json_answer(200, MODELS))
        yield one


def watched(url: str, model: str = "chat", weight: int = 1, **place: Any) -> Watched:
    given = {"name": "one", "base_url": url, "api_key": "sk-upstream", "connect_timeout": 5.0, **place}
    return Watched(Target(model=model, upstream_model=model, upstream=Place(**given), weight=weight))


class Probes:
    """Makes all probes that are due, whenever a test says so."""

    def __init__(self, *members: Watched, **how: Any) -> None:
        self.clock = Clock()
        self.members = list(members)
        self.pools = Pools(clock=self.clock)
        self.probing = Probing(All(self.members), self.pools, clock=self.clock, chance=lambda: 0.5, **how)

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.probing.tick()
        self.probing._greenlets.join(10)

    def once(self) -> list[str | None]:
        """Give what the first member was told after the first probe."""
        self.after(0)
        self.after(3)
        self.close()
        return self.members[0].told

    def close(self) -> None:
        for pool in self.pools._pools.values():
            pool.retire()


def test_the_list_of_models_is_asked_for_with_the_upstream_s_key(upstream: Upstream) -> None:
    told = Probes(watched(upstream.url)).once()

    lines = upstream.seen[0].head.split(b"\r\n")
    assert told == [None]
    assert lines[0] == b"GET /v1/models HTTP/1.1"
    assert b"Authorization: Bearer sk-upstream" in lines
    assert b"Host: 127.0.0.1:%d" % upstream.port in lines
    assert upstream.seen[0].body == b""


@pytest.mark.parametrize(
    ("adapter", "path", "header"),
    [
        ("azure", b"/openai/models?api-version=2025-01-01", b"api-key: sk-upstream"),
        ("anthropic", b"/v1/models", b"x-api-key: sk-upstream"),
    ],
)
def test_it_is_asked_for_where_such_an_upstream_has_it(
    upstream: Upstream, adapter: str, path: bytes, header: bytes
) -> None:
    base = upstream.url.removesuffix("/v1") if adapter == "azure" else upstream.url

    told = Probes(watched(base, adapter=adapter, api_version="2025-01-01")).once()

    lines = upstream.seen[0].head.split(b"\r\n")
    assert told == [None]
    assert lines[0] == b"GET " + path + b" HTTP/1.1"
    assert header in lines


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, None), (302, None), (401, None), (403, None), (404, None), (429, None), (501, None),
        (500, "http_500"), (502, "http_502"), (503, "http_503"),
    ],
)  # fmt: skip
def test_whoever_answers_is_there_unless_it_is_a_5xx(upstream: Upstream, status: int, told: str | None) -> None:
    upstream.answer(json_answer(status, b"{}"))

    assert Probes(watched(upstream.url)).once() == [told]


def hangs(talk: Conversation) -> None:
    talk.wait_closed()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (hangs, "upstream_timeout_first_byte"),
        (lambda talk: talk.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "upstream_bad_answer"),
        (lambda talk: talk.reset(), "upstream_closed"),
    ],
    ids=["hangs", "garbage", "hangs up"],
)
def test_one_that_gives_no_answer_is_ill(upstream: Upstream, script: Any, told: str) -> None:
    upstream.answer(script)

    assert Probes(watched(upstream.url, connect_timeout=0.5)).once() == [told]


def test_one_that_cannot_be_connected_to_is_ill_whatever_keeps_us_from_it(authority: Authority) -> None:
    with scripted(authority.server("localhost"), "localhost") as secure:
        seen = {
            link: Probes(watched(url, link=link)).once()[0]
            for url, link in [
                (f"http://127.0.0.1:{free_port()}/v1", DIRECT),
                (secure.url, Link(ca_file="/nowhere.pem")),
                (secure.url, Link(proxy=f"http://127.0.0.1:{free_port()}")),
            ]
        }

    assert list(seen.values()) == ["upstream_unreachable", "upstream_tls", "upstream_proxy"]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_where_no_models_are_listed_a_connection_is_enough_for_an_hour(upstream: Upstream, status: int) -> None:
    upstream.answer(json_answer(status, b"{}"))
    probes = Probes(watched(upstream.url))
    probes.once()

    for _ in range(3):
        probes.after(40)
    wait_until(lambda: upstream.connections == 4)
    asked = len(upstream.seen)
    probes.after(UNSERVED_SECONDS)
    probes.close()

    assert asked == 1
    assert len(upstream.seen) == 2
    assert probes.members[0].told == [None] * 5


def test_behind_a_proxy_for_http_a_connection_says_nothing_so_it_is_asked_for_again(upstream: Upstream) -> None:
    upstream.answer(json_answer(404, b"{}"))
    with http_proxy() as proxy:
        probes = Probes(watched(upstream.url, link=Link(proxy=proxy.url)))
        probes.once()
        probes.after(40)
        probes.close()

    assert len(upstream.seen) == 2
    assert proxy.heads[0].startswith(b"GET http://127.0.0.1")


def test_models_at_the_same_place_are_told_of_one_probe(upstream: Upstream) -> None:
    members = [
        watched(upstream.url, "chat"),
        watched(upstream.url, "embed"),
        watched(upstream.url, "x", api_key="other"),
    ]
    probes = Probes(*members)
    probes.once()

    assert [member.told for member in members] == [[None]] * 3
    assert len(upstream.seen) == 2


def test_those_that_take_no_calls_or_are_not_to_be_probed_are_let_be(upstream: Upstream) -> None:
    off, unprobed = watched(upstream.url, weight=0), watched(upstream.url, "other")
    unprobed.interval = None
    Probes(off, unprobed).once()

    assert (off.told, unprobed.told, upstream.connections) == ([], [], 0)


def test_one_that_comes_with_a_reload_is_probed_and_one_that_goes_is_not(upstream: Upstream) -> None:
    going, coming = watched(upstream.url), watched(upstream.url.replace("/v1", "/v2"))
    probes = Probes(going)
    probes.once()

    probes.members[:] = [coming]
    probes.after(LOOK_EVERY)
    probes.after(40)
    probes.close()

    assert (going.told, coming.told) == ([None], [None])


def test_one_process_at_a_time_probes_a_place(upstream: Upstream) -> None:
    claims: list[tuple[str, float]] = []

    def refuse(key: str, seconds: float) -> bool:
        claims.append((key, seconds))
        return False

    told = Probes(watched(upstream.url, "b"), watched(upstream.url, "a"), may_probe=refuse).once()

    assert told == []
    assert claims == [("a\tone", 27.0)]
    assert upstream.connections == 0


def test_who_finds_it_failing_sees_it_through(upstream: Upstream) -> None:
    claims: list[str] = []

    def grant(key: str, seconds: float) -> bool:
        claims.append(key)
        return True

    upstream.answer(json_answer(500, b"{}"))
    probes = Probes(watched(upstream.url), may_probe=grant)
    probes.once()
    for _ in range(4):
        probes.after(2)
    quick = len(probes.members[0].told)
    probes.after(30)
    probes.close()

    assert quick == 3  # so many failures let it rest
    assert len(probes.members[0].told) == 4
    assert len(claims) == 2


@pytest.mark.parametrize(("why", "told"), [("upstream_unreachable", [None, None]), ("http_500", [None])])
def test_one_that_rests_because_it_could_not_be_reached_is_looked_for_every_other_second(
    upstream: Upstream, why: str, told: list[str | None]
) -> None:
    claims: list[tuple[str, float]] = []

    def grant(key: str, seconds: float) -> bool:
        claims.append((key, round(seconds, 1)))
        return True

    member = watched(upstream.url)
    probes = Probes(member, may_probe=grant)
    probes.once()
    for _ in range(3):
        member.health.failed(why, trial=False, fresh=True, may_rest=True)
    upstream.answer(json_answer(503, b"{}"))
    for _ in range(3):
        probes.after(2)
    upstream.answer(json_answer(200, MODELS))
    probes.after(2)
    probes.close()

    assert member.told == told  # that it is still away is nothing new
    assert claims[1:] == ([("chat\tone\tback", 1.8)] * 4 if len(told) > 1 else [])


def test_a_probe_s_connection_is_kept_and_a_long_answer_is_not_read(upstream: Upstream) -> None:
    probes = Probes(watched(upstream.url))
    probes.once()
    short = Probes(watched(upstream.url))
    upstream.answer(json_answer(200, b"x" * (20 * LONGEST_BODY)))
    long = Probes(watched(upstream.url))

    assert long.once() == [None]
    upstream.answer(json_answer(200, MODELS))
    short.after(0)
    short.after(3)
    kept = [pool.idle for pool in short.pools._pools.values()]
    short.close()

    assert kept == [1]
    assert [pool.idle for pool in long.pools._pools.values()] == [0]


def test_a_fault_of_ours_ends_no_probing(upstream: Upstream) -> None:
    def broken(key: str, seconds: float) -> bool:
        raise RuntimeError(key)

    probes = Probes(watched(upstream.url), may_probe=broken)
    probes.once()
    probes.probing._may_probe = lambda _key, _seconds: True
    probes.after(40)
    probes.close()

    assert probes.members[0].told == [None]


def test_it_begins_soon_and_ends_at_once(upstream: Upstream) -> None:
    member = watched(upstream.url)
    pools = Pools()
    probing = Probing(All([member]), pools, chance=lambda: 0.0)

    probing.start()
    with gevent.Timeout(10):
        while not member.told:
            gevent.sleep(0.01)
    probing.stop()

    assert member.told == [None]
    for pool in pools._pools.values():
        pool.retire()


def test_a_real_member_rests_when_its_probes_fail_and_may_be_tried_when_they_do_not() -> None:
    class First:
        def choose(self, among: Any) -> Any:
            return among[0]

        def saw(self, name: str, ttft: float) -> None: ...

    members = Members(lambda _: First())  # type: ignore[arg-type,return-value]
    port = free_port()
    with scripted() as other:
        places = [Place(name="ill", base_url=f"http://127.0.0.1:{port}/v1"), Place(name="well", base_url=other.url)]
        targets = tuple(Target(model="m", upstream_model="m", upstream=place) for place in places)
        members.keep([ModelRoute(model="m", targets=targets, balance=Balance(health_check_interval=30.0))])
        probes = Probes()
        probes.probing._members = members
        probes.after(0)
        for _ in range(3):
            probes.after(3)

        ill, well = members.all()
        found = (ill.health.standing(), well.health.standing())
        with socket.create_server(("127.0.0.1", port)):
            probes.probing._sites[next(iter(probes.probing._sites))].unserved_until = float("inf")
            probes.after(40)
        probes.close()

    assert found == ("ejected", "healthy")
    assert ill.health.standing() == "trial"
