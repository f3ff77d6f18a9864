"""Connections to upstreams, over real sockets: how many are kept, which are used again, where a name leads."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from llm_one_api.errors import GatewayError, UpstreamFailed
from llm_one_api.gateway.http import Connection
from llm_one_api.gateway.pool import IDLE_SECONDS, MOST_IDLE, UNUSED_SECONDS, Pool, Pools
from llm_one_api.gateway.upstreams.addresses import GONE_SECONDS, Address
from llm_one_api.targets import Link
from llm_one_api.targets import Upstream as Target
from tests.functional.connections.conftest import MakePool, ask
from tests.harness.processes import free_port, wait_until
from tests.harness.upstream import Conversation, Upstream, json_answer, scripted


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Names:
    """Where names lead: a test says so, and may say something else later."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        return [(socket.AF_INET, ("127.0.0.1", here)) for here in self.ports]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    return Clock()


def used(pool: Pool) -> Connection:
    connection = pool.connect(5)
    ask(connection)
    return connection


def test_a_connection_that_carried_a_call_carries_the_next(
    make_pool: MakePool, upstream: Upstream, clock: Clock
) -> None:
    pool = make_pool(upstream.url, clock=clock)
    pool.give_back(used(pool))

    again = pool.take_idle()

    assert again is not None
    assert ask(again).startswith(b'{"id"')
    assert upstream.connections == 1
    again.close()


def test_one_that_nobody_used_for_long_is_closed(make_pool: MakePool, upstream: Upstream, clock: Clock) -> None:
    pool = make_pool(upstream.url, clock=clock)
    connection = used(pool)
    pool.give_back(connection)

    clock.now += IDLE_SECONDS
    pool.close_idle()

    assert pool.idle == 0
    assert connection.sock.closed


def test_no_more_than_so_many_are_kept_and_the_oldest_go(make_pool: MakePool, upstream: Upstream, clock: Clock) -> None:
    pool = make_pool(upstream.url, clock=clock)
    all_of_them = [used(pool) for _ in range(MOST_IDLE + 2)]

    for connection in all_of_them:
        pool.give_back(connection)

    assert pool.idle == MOST_IDLE
    assert [c.sock.closed for c in all_of_them] == [True, True] + [False] * MOST_IDLE


def test_one_that_the_upstream_has_closed_is_not_used_again(
    make_pool: MakePool, upstream: Upstream, clock: Clock
) -> None:
    def answers_and_leaves(talk: Conversation) -> None:
        json_answer(200, b"{}")(talk)
        talk.reset()

    upstream.answer(answers_and_leaves)
    pool = make_pool(upstream.url, clock=clock)
    connection = pool.connect(5)
    ask(connection)
    wait_until(lambda: not connection.still_good())
    pool.give_back(connection)

    assert pool.take_idle() is None
    assert pool.idle == 0


def test_one_on_which_more_came_than_an_answer_is_not_used_again(
    make_pool: MakePool, upstream: Upstream, clock: Clock
) -> None:
    def answers_and_goes_on(talk: Conversation) -> None:
        json_answer(200, b"{}")(talk)
        talk.go.wait(10)
        talk.send(b"HTTP/1.1 200 OK\r\n")

    upstream.answer(answers_and_goes_on)
    pool = make_pool(upstream.url, clock=clock)
    connection = pool.connect(5)
    ask(connection)
    pool.give_back(connection)
    upstream.seen[0].go.set()
    wait_until(lambda: not connection.still_good())

    assert pool.take_idle() is None


def test_an_address_that_refuses_costs_no_call_and_is_tried_last_from_then_on(
    make_pool: MakePool, upstream: Upstream
) -> None:
    names = Names()
    names.ports = [free_port(), upstream.port]
    pool = make_pool("http://models.test/v1", resolve=names)

    first, second = pool.connect(5), pool.connect(5)

    assert first.peer == second.peer == (socket.AF_INET, ("127.0.0.1", upstream.port))
    assert pool._addresses.give(1)[0] == first.peer
    first.close()
    second.close()


def test_a_name_that_leads_elsewhere_is_followed_also_by_kept_connections(
    make_pool: MakePool, upstream: Upstream, clock: Clock
) -> None:
    names = Names()
    names.ports = [upstream.port]
    pool = make_pool("http://models.test/v1", resolve=names, clock=clock)
    pool.give_back(used(pool))
    with scripted() as other:
        names.ports = [other.port]

        times = 0
        while (connection := pool.take_idle()) is not None:  # one call every ten seconds, so that it is never idle
            ask(connection)
            pool.give_back(connection)
            clock.now += 10
            pool._addresses.give(1)
            times += 1
        new = used(pool)

        assert GONE_SECONDS / 10 <= times <= GONE_SECONDS / 10 + 4
        assert new.peer == (socket.AF_INET, ("127.0.0.1", other.port))
        assert len(other.seen) == 1
        new.close()


def test_a_name_that_cannot_be_found_is_told_with_its_reason_but_not_to_the_caller(make_pool: MakePool) -> None:
    def unknown(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    pool = make_pool("http://models.test/v1", resolve=unknown)

    with capture_logs() as logs, pytest.raises(UpstreamFailed) as failed:
        pool.connect(5)

    assert failed.value.code == "upstream_unreachable"
    assert "models.test" not in failed.value.message
    assert [(line["event"], line["to"], line["reason"]) for line in logs] == [
        ("upstream.no_connection", "models.test:80", "looking its name up: Name or service not known")
    ]


def test_a_fault_that_goes_on_is_logged_once_a_minute_and_its_end_too(
    make_pool: MakePool, upstream: Upstream, clock: Clock
) -> None:
    names = Names()
    names.ports = [free_port()]
    pool = make_pool("http://models.test/v1", resolve=names, clock=clock)

    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(GatewayError):
                pool.connect(5)
        clock.now += 61
        with pytest.raises(GatewayError):
            pool.connect(5)
        names.ports = [upstream.port]
        clock.now += 61
        pool.connect(5).close()

    assert [line["event"] for line in logs] == ["upstream.no_connection"] * 2 + ["upstream.connected_again"]


def test_a_connection_that_cannot_be_had_in_time_is_given_up(make_pool: MakePool) -> None:
    with socket.socket() as full:  # it accepts nobody, and its backlog is full: as good as a hole
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))

        with pytest.raises(GatewayError) as failed:
            make_pool(f"http://127.0.0.1:{port}/v1").connect(0.3)

        assert (failed.value.status, failed.value.code) == (504, "upstream_timeout_connect")
        for sock in waiting:
            sock.close()


def target(url: str, link: Link | None = None) -> Target:
    return Target(name="one", base_url=url) if link is None else Target(name="one", base_url=url, link=link)


def test_models_at_the_same_place_share_connections_and_others_do_not(upstream: Upstream) -> None:
    pools = Pools()
    one = pools.of(target(upstream.url))

    assert pools.of(target(upstream.url.replace("/v1", "/other"))) is one
    assert pools.of(target(upstream.url, Link(proxy="http://127.0.0.1:9"))) is not one
    assert pools.of(target(upstream.url.replace("127.0.0.1", "localhost"))) is not one


def test_a_pool_that_nobody_uses_goes_and_a_call_that_still_had_a_connection_leaves_none(
    upstream: Upstream, clock: Clock
) -> None:
    pools = Pools(clock=clock)
    pool = pools.of(target(upstream.url))
    connection = used(pool)

    clock.now += UNUSED_SECONDS
    pools.close_idle()
    pool.give_back(connection)

    assert len(pools) == 0
    assert connection.sock.closed
    assert pools.of(target(upstream.url)) is not pool
