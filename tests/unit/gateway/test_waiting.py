"""Calls that wait because all upstreams have as many as they may."""

from __future__ import annotations

import gevent
import pytest

from llm_one_api.gateway.balance import Busy, Trip
from llm_one_api.gateway.upstreams.health import Others
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.watch import Cut
from llm_one_api.plugins.interfaces import PluginConfig
from tests.harness.trips import EMBEDDINGS, First, begin, member, route, target


@pytest.fixture
def members() -> Members:
    return Members(lambda _name: First(PluginConfig()))


def under_way(trips: list[Trip]) -> list[str]:
    return [trip.target.upstream.name for trip in trips]


def test_an_upstream_has_no_more_calls_at_a_time_than_it_may(members: Members) -> None:
    to = route(target("a", max_concurrent=2), target("b", max_concurrent=1), queue_timeout=0.01)

    trips = [begin(members, to) for _ in range(3)]

    assert under_way(trips) == ["a", "a", "b"]
    with pytest.raises(Busy) as caught:
        begin(members, to)
    assert (caught.value.status, caught.value.code) == (503, "upstream_busy")


def test_a_call_waits_for_room_and_those_that_wait_take_turns(members: Members) -> None:
    to = route(target("a", max_concurrent=1), queue_timeout=10)
    holds = begin(members, to)
    order: list[int] = []

    def call(number: int) -> None:
        trip = begin(members, to)
        order.append(number)
        trip.end()

    waiting = [gevent.spawn(call, number) for number in range(3)]
    gevent.sleep(0)
    assert len(members.group(to).waiting) == 3

    holds.end()
    gevent.joinall(waiting, timeout=5)

    assert order == [0, 1, 2]
    assert not members.group(to).waiting


def test_who_waits_keeps_its_place_whatever_happens_meanwhile(members: Members) -> None:
    to = route(target("a", max_concurrent=1), queue_timeout=10)
    holds = begin(members, to)
    order: list[int] = []

    def call(number: int) -> None:
        trip = begin(members, to)
        order.append(number)
        trip.end()

    waiting = [gevent.spawn(call, number) for number in range(4)]
    for _ in range(3):
        gevent.sleep(0)
        members.group(to).serve()
    holds.end()
    late = begin(members, to)  # before any of those that wait has run

    assert order == [0, 1, 2, 3], "the place was theirs"
    late.end()
    gevent.joinall(waiting, timeout=5)


def test_a_place_that_the_first_cannot_use_goes_to_the_next(members: Members) -> None:
    to = route(
        target("gpt", max_concurrent=1), target("claude", adapter="anthropic", max_concurrent=1), queue_timeout=9
    )
    trips = [begin(members, to) for _ in range(2)]
    embeds = gevent.spawn(lambda: begin(members, to, endpoint=EMBEDDINGS))
    gevent.sleep(0)
    chats = gevent.spawn(lambda: begin(members, to))
    gevent.sleep(0)

    trips[1].end()
    chats.join(5)

    assert chats.value.target.upstream.name == "claude"
    trips[0].end()
    embeds.join(5)
    assert embeds.value.target.upstream.name == "gpt"


def test_a_place_given_to_a_call_that_is_cut_goes_to_the_next(members: Members) -> None:
    to = route(target("a", max_concurrent=1), queue_timeout=10)
    holds = begin(members, to)
    first, second = gevent.spawn(lambda: begin(members, to)), gevent.spawn(lambda: begin(members, to))
    gevent.sleep(0)

    gevent.get_hub().loop.run_callback(first.throw, Cut("client_gone"))  # as the watch does, before it can run
    holds.end()
    second.join(5)

    assert second.value.target.upstream.name == "a"
    assert member(members, "a").own_in_flight == 1


def test_the_end_of_a_pause_is_room_too(members: Members) -> None:
    to = route(target("a", max_concurrent=1), target("b"), queue_timeout=10)
    members.group(to)
    member(members, "b").limited(0.05)
    begin(members, to)

    assert begin(members, to).target.upstream.name == "b"


def test_waiting_has_no_more_time_than_the_call(members: Members) -> None:
    to = route(target("a", max_concurrent=1, total_timeout=0.05), queue_timeout=10)
    begin(members, to)

    with pytest.raises(Busy):
        begin(members, to)


def test_an_upstream_without_the_endpoint_is_no_help_to_one_that_waits_for_it(members: Members) -> None:
    to = route(target("gpt", max_concurrent=1), target("claude", adapter="anthropic"), queue_timeout=0.01)
    begin(members, to)

    with pytest.raises(Busy):
        begin(members, to, endpoint=EMBEDDINGS)


def test_no_more_calls_wait_than_may(members: Members) -> None:
    to = route(target("a", max_concurrent=1), queue_timeout=10, max_queue=1)
    holds = begin(members, to)
    waits = gevent.spawn(lambda: begin(members, to).end())
    gevent.sleep(0)

    with pytest.raises(Busy):
        begin(members, to)

    holds.end()
    waits.join(5)
    assert waits.successful()


def test_calls_of_other_processes_take_room_too(members: Members) -> None:
    to = route(target("a", max_concurrent=3), queue_timeout=0.01)
    members.group(to)
    member(members, "a").told(Others(in_flight=2, processes=2))

    begin(members, to)
    with pytest.raises(Busy):
        begin(members, to)


def test_a_fallback_takes_what_finds_no_room(members: Members) -> None:
    to = route(target("a", max_concurrent=1), queue_timeout=0.01, fallbacks=("n",))
    other = route(target("x", "n"))
    begin(members, to, other)

    assert begin(members, to, other).target.model == "n"
