"""What is known of upstreams, and what a reload of the config leaves of it."""

from __future__ import annotations

import gevent
import pytest

from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.plugins.interfaces import LoadBalanceStrategy, PluginConfig
from llm_one_api.targets import Target, Upstream
from tests.harness.trips import First, begin, judged, member, rest, route, target


@pytest.fixture
def members() -> Members:
    return Members(lambda _name: First(PluginConfig()))


# -- health --


def test_the_last_healthy_upstream_is_never_ejected(members: Members) -> None:
    to = route(target("a"), target("b"), max_retries=0)
    for name in "ab":
        one = next(m for m in members.group(to).all if m.name == name)
        for _ in range(5):
            one.failed("http_500", trial=False, fresh=True)

    assert member(members, "a").health.standing() == "ejected"
    assert member(members, "b").health.standing() == "healthy"
    assert member(members, "b").health.kept


def test_a_lone_upstream_is_asked_whatever_it_answers(members: Members) -> None:
    to = route(target("a"))
    for _ in range(10):
        trip = begin(members, to)
        assert judged(trip, 500)
        trip.end()

    assert begin(members, to).target.upstream.name == "a"
    assert member(members, "a").health.condition.state == "healthy"


# -- what a reload leaves --


def test_a_reload_keeps_what_is_known_of_the_same_upstream(members: Members) -> None:
    members.keep([route(target("a"), target("b"))])
    rest(member(members, "a"))
    trip = begin(members, route(target("a"), target("b")))

    members.keep([route(target("a", weight=5), target("c"))])

    assert member(members, "a").health.standing() == "ejected"
    assert member(members, "a").weight == 5
    assert members.get("m\tb") is None
    trip.end()


def test_another_place_under_the_same_name_begins_anew_and_others_hear_of_it(members: Members) -> None:
    members.keep([route(target("a"), target("b"))])
    rest(member(members, "a"))
    moved = Target(model="m", upstream_model="m", upstream=Upstream(name="a", base_url="http://elsewhere/v1"))

    members.keep([route(moved, target("b"))])

    assert member(members, "a").health.standing() == "healthy"
    assert [one.name for one in members.take_changed()] == ["a"]


def test_a_call_of_before_a_reload_goes_on_by_the_old_config_and_leaves_no_trace(members: Members) -> None:
    old, new = route(target("a"), target("b")), route(target("a"))
    gone = route(target("x", "n"))
    members.keep([old, gone])
    members.keep([new])
    known = members.group(new)

    assert not judged(begin(members, old), 500)
    begin(members, gone)

    assert members.group(new) is known
    assert [group.route.model for group in members.groups()] == ["m"]
    assert member(members, "a").health.streak == 1


def test_a_strategy_that_cannot_be_made_changes_nothing() -> None:
    def make(name: str) -> LoadBalanceStrategy:
        if name != "first":
            raise LookupError(name)
        return First(PluginConfig())

    members = Members(make)
    members.keep([route(target("a"))])

    with pytest.raises(LookupError):
        members.keep([route(target("z", "k")), route(target("a"), strategy="none")])

    assert [group.route.model for group in members.groups()] == ["m"]


def test_calls_that_wait_are_served_after_a_reload_too(members: Members) -> None:
    before, after = (route(target("a", max_concurrent=1), queue_timeout=10, cooldown=n) for n in (1.0, 2.0))
    members.keep([before])
    holds = begin(members, before)
    waits = gevent.spawn(lambda: begin(members, before))
    gevent.sleep(0)

    members.keep([after])
    holds.end()
    waits.join(5)

    assert waits.successful()


def test_what_becomes_of_a_call_of_before_is_not_said_of_the_place_that_has_the_name_now(members: Members) -> None:
    old = route(target("a"), target("b"), max_failures=1)
    moved = Target(model="m", upstream_model="m", upstream=Upstream(name="a", base_url="http://elsewhere/v1"))
    members.keep([old])
    trip = begin(members, old)
    members.keep([route(moved, target("b"), max_failures=1)])
    members.take_changed()

    trip.turn.failed("http_500")

    assert members.take_changed() == []
    assert member(members, "a").health.standing() == "healthy"


def test_models_that_a_route_plugin_brings_are_forgotten_when_nobody_asks_for_them(members: Members) -> None:
    trip = begin(members, route(target("a", "used")))
    begin(members, route(target("a", "unused"))).end()

    members.forget(unused=-1)

    assert [group.route.model for group in members.groups()] == ["used"]
    trip.end()
    for number in range(1100):
        begin(members, route(target("a", f"m{number}"))).end()
    assert len(members.all()) <= 1001


def test_calls_that_wait_look_again_when_the_config_gives_more_room(members: Members) -> None:
    members.keep([route(target("a", max_concurrent=1), queue_timeout=10)])
    begin(members, route(target("a", max_concurrent=1), queue_timeout=10))
    waits = gevent.spawn(lambda: begin(members, route(target("a", max_concurrent=1), queue_timeout=10)))
    gevent.sleep(0)

    members.keep([route(target("a", max_concurrent=2), queue_timeout=10)])
    waits.join(5)

    assert waits.successful()
