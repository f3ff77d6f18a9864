"""Where a name leads: when it is looked up, and what holds while it cannot be."""

from __future__ import annotations

import socket
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from llm_one_api.gateway.upstreams.addresses import (
    ADDRESS_SECONDS,
    BREATH,
    GONE_SECONDS,
    TRY_AGAIN,
    Address,
    Addresses,
    look_up,
)

HERE, THERE, ELSEWHERE = ((int(socket.AF_INET), (f"192.0.2.{n}", 443)) for n in (1, 2, 3))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Tells where names lead, as a test says; None: it does not know."""

    def __init__(self, *found: Address) -> None:
        self.found: tuple[Address, ...] | None = found
        self.asked = 0
        self.may_answer = Event()
        self.may_answer.set()

    def __call__(self, host: str, port: int) -> tuple[Address, ...]:
        self.asked += 1
        self.may_answer.wait()
        if self.found is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.found


def of(server: Callable[[str, int], tuple[Address, ...]], clock: Clock) -> Addresses:
    return Addresses("models.test", 443, resolve=server, clock=clock)


def test_a_name_is_looked_up_again_when_its_addresses_are_old() -> None:
    clock, server = Clock(), Server(HERE)
    addresses = of(server, clock)

    first = [addresses.give(1), addresses.give(1)]
    server.found = (THERE,)
    clock.now += ADDRESS_SECONDS

    assert first == [(HERE,), (HERE,)]
    assert addresses.give(1) == (THERE,)
    assert server.asked == 2


def test_all_who_need_a_name_wait_for_one_look_up() -> None:
    server = Server(HERE)
    server.may_answer.clear()
    addresses = of(server, Clock())

    waiting = [gevent.spawn(addresses.give, 5) for _ in range(10)]
    gevent.sleep(0)
    server.may_answer.set()
    gevent.joinall(waiting)

    assert [one.value for one in waiting] == [(HERE,)] * 10
    assert server.asked == 1


def test_an_older_answer_will_do_while_the_server_of_names_fails() -> None:
    clock, server = Clock(), Server(HERE)
    addresses = of(server, clock)
    addresses.give(1)

    server.found = None
    clock.now += 10 * GONE_SECONDS
    during = [addresses.give(1), addresses.give(1)]
    clock.now += TRY_AGAIN
    addresses.give(1)

    assert during == [(HERE,), (HERE,)]
    assert addresses.include(HERE)
    assert server.asked == 3


def test_an_older_answer_will_do_while_the_server_of_names_is_slow() -> None:
    clock, server = Clock(), Server(HERE)
    addresses = of(server, clock)
    addresses.give(1)
    server.may_answer.clear()
    clock.now += ADDRESS_SECONDS

    assert addresses.give(0.01) == (HERE,)
    server.found = (THERE,)
    server.may_answer.set()
    assert addresses.give(1) == (THERE,)


def test_without_any_answer_it_takes_no_longer_than_may_be_waited() -> None:
    server = Server(HERE)
    server.may_answer.clear()

    with pytest.raises(TimeoutError):
        of(server, Clock()).give(0.01)

    server.may_answer.set()
    gevent.sleep(0)


def test_an_unknown_name_is_told_with_its_reason_and_not_asked_for_with_each_call() -> None:
    clock, server = Clock(), Server()
    server.found = None
    addresses = of(server, clock)

    for _ in range(3):
        with pytest.raises(OSError, match="Temporary failure in name resolution"):
            addresses.give(1)
    clock.now += BREATH
    server.found = (HERE,)

    assert addresses.give(1) == (HERE,)
    assert server.asked == 2


def test_an_address_is_not_gone_because_one_answer_left_it_out() -> None:
    clock, server = Clock(), Server(HERE, THERE)
    addresses = of(server, clock)
    addresses.give(1)

    server.found = (THERE, ELSEWHERE)
    clock.now += ADDRESS_SECONDS
    addresses.give(1)
    once = addresses.include(HERE)
    clock.now += ADDRESS_SECONDS
    addresses.give(1)

    assert once
    assert not addresses.include(HERE)
    assert addresses.include(THERE)
    assert addresses.include(ELSEWHERE)


def test_the_one_that_worked_is_tried_first() -> None:
    addresses = of(Server(HERE, THERE, ELSEWHERE), Clock())
    addresses.give(1)

    addresses.worked(THERE)

    assert addresses.give(1) == (THERE, ELSEWHERE, HERE)


def test_when_none_of_them_answered_they_are_looked_up_before_the_next_try() -> None:
    clock, server = Clock(), Server(HERE)
    addresses = of(server, clock)
    addresses.give(1)
    server.found = (THERE,)

    addresses.suspect()
    at_once = addresses.give(1)
    clock.now += BREATH

    assert at_once == (HERE,)
    assert addresses.give(1) == (THERE,)


def test_an_old_name_is_looked_up_beside_the_calls_that_have_a_connection() -> None:
    clock, server = Clock(), Server(HERE)
    addresses = of(server, clock)
    addresses.give(1)
    server.found = (THERE,)
    clock.now += ADDRESS_SECONDS

    addresses.refresh()
    before = addresses.include(THERE)
    gevent.sleep(0)

    assert not before
    assert addresses.include(THERE)


def test_a_host_that_can_be_no_name_is_not_found() -> None:
    with pytest.raises(OSError, match="no such name"):
        look_up("a" * 70 + ".test", 443)


def test_the_system_is_asked_by_default() -> None:
    assert (int(socket.AF_INET), ("127.0.0.1", 443)) in look_up("localhost", 443)
