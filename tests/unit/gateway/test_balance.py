"""Which upstream a call goes to, and where it goes when that one fails. Over real sockets: `tests/functional`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import gevent
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm_one_api.errors import UpstreamFailed
from llm_one_api.gateway.balance import Balance, Busy, Trip
from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.gateway.prepare import Unsupported
from llm_one_api.gateway.upstreams.health import Condition, Others
from llm_one_api.gateway.upstreams.member import Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.watch import Visit
from llm_one_api.plugins import manager
from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, LogFile, PluginConfig, PluginContext
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


@pytest.fixture
def members() -> Members:
    return Members(lambda _name: First(PluginConfig()))


def visit() -> Visit:
    return Visit(-1, gevent.getcurrent(), drains=False)


def begin(
    members: Members, to: ModelRoute, *others: ModelRoute, endpoint: Endpoint = CHAT, by: Visit | None = None
) -> Trip:
    return Balance(members)(to, lambda: others, endpoint, by or visit())


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


# -- choosing --


@given(
    name=st.sampled_from(STRATEGIES),
    resting=st.lists(st.booleans(), min_size=2, max_size=6),
    weights=st.lists(st.integers(0, 5), min_size=6, max_size=6),
    in_flight=st.lists(st.integers(0, 50), min_size=6, max_size=6),
    calls=st.integers(1, 20),
)
def test_no_strategy_has_a_resting_upstream_asked_while_a_healthy_one_is_there(
    name: str, resting: list[bool], weights: list[int], in_flight: list[int], calls: int
) -> None:
    members = Members(lambda name: manager.strategy(name, CONTEXT))
    to = route(*[target(f"u{n}", weight=weights[n]) for n in range(len(resting))], strategy=name)
    members.group(to)
    for n, rests in enumerate(resting):
        member(members, f"u{n}").own_in_flight = in_flight[n]
        if rests:
            rest(member(members, f"u{n}"))
    assume(any(weights[: len(resting)]))
    well = {f"u{n}" for n, rests in enumerate(resting) if not rests and weights[n]}

    chosen = {begin(members, to).target.upstream.name for _ in range(calls)}

    assert not well or chosen <= well


def test_where_all_rest_the_one_that_comes_back_first_is_asked(members: Members) -> None:
    to = route(target("a"), target("b"), target("c", weight=0))
    members.group(to)
    rest(member(members, "a"), 60)
    rest(member(members, "b"), 20)
    rest(member(members, "c"), 1)

    assert begin(members, to).target.upstream.name == "b"


def test_one_that_may_be_tried_again_gets_one_call_at_a_time(members: Members) -> None:
    to = route(target("a"), target("b"))
    members.group(to)
    rest(member(members, "b"), -1)

    trial, other = begin(members, to), begin(members, to)

    assert [trip.target.upstream.name for trip in (trial, other)] == ["b", "a"]
    trial.end()
    assert begin(members, to).target.upstream.name == "b"


def test_an_upstream_without_the_endpoint_is_not_asked_for_it(members: Members) -> None:
    to = route(target("claude", adapter="anthropic"), target("gpt"))

    assert begin(members, to).target.upstream.name == "claude"
    assert begin(members, to, endpoint=EMBEDDINGS).target.upstream.name == "gpt"


def test_a_strategy_that_fails_costs_no_call(members: Members, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(LoadBalanceStrategy):
        def choose(self, among: Iterable[Candidate]) -> Candidate:
            raise ZeroDivisionError

    broken = Members(lambda _name: Broken(PluginConfig()))

    for _ in range(2):
        assert begin(broken, route(target("a"), target("b"))).target.upstream.name == "a"
    assert capsys.readouterr().out.count("strategy_failed") == 1


# -- going on --


@pytest.mark.parametrize("status", [500, 503, 429, 408, 409, 401])
def test_a_call_goes_on_to_another_upstream_after_what_that_one_may_answer_otherwise(
    members: Members, status: int
) -> None:
    trip = begin(members, route(target("a"), target("b")))

    assert not judged(trip, status)

    assert trip.target.upstream.name == "b"
    assert (member(members, "a").own_in_flight, member(members, "b").own_in_flight) == (0, 1)


@pytest.mark.parametrize("status", [200, 400, 404, 422])
def test_what_is_an_answer_or_the_callers_fault_is_passed_on(members: Members, status: int) -> None:
    assert judged(begin(members, route(target("a"), target("b"))), status)


def test_the_last_answer_is_passed_on_when_all_have_failed(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b")))

    assert not judged(trip, 500)
    assert judged(trip, 503)


def test_each_upstream_is_asked_once_and_no_more_than_is_allowed(members: Members) -> None:
    trip = begin(members, route(*map(target, "abcde"), max_retries=2))

    assert [judged(trip, 500) for _ in range(3)] == [False, False, True]
    assert trip.target.upstream.name == "c"


def test_after_an_error_the_next_is_asked_and_the_last_error_is_told(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b")))

    trip.failed(UpstreamFailed("No."), again=True)
    with pytest.raises(UpstreamFailed, match="Neither") as caught:
        trip.failed(UpstreamFailed("Neither."), again=True)

    assert caught.value.retry_after == 1.0


def test_what_can_be_sent_only_once_goes_nowhere_else(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b")))

    with pytest.raises(UpstreamFailed):
        trip.failed(UpstreamFailed("No."), again=False)


def test_a_call_whose_time_is_over_goes_nowhere_else(members: Members) -> None:
    by = visit()
    trip = begin(members, route(target("a"), target("b")), by=by)
    by.total_deadline = time.monotonic() - 1

    assert judged(trip, 500)


def test_an_upstream_that_cannot_be_told_what_was_asked_has_not_failed(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b")))

    trip.failed(Unsupported("Not that."), again=True)

    assert trip.target.upstream.name == "b"
    assert member(members, "a").health.streak == 0


def test_if_nobody_else_can_be_told_it_the_failure_before_counts(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b")))
    assert not judged(trip, 500)

    with pytest.raises(UpstreamFailed) as caught:
        trip.failed(Unsupported("Not that."), again=True)

    assert caught.value.code == "http_500"


def test_a_429_pauses_its_upstream_for_as_long_as_it_says(members: Members) -> None:
    to = route(target("a"), target("b"))

    assert not judged(begin(members, to), 429, headers={"retry-after": "60"})

    health = member(members, "a").health
    assert (health.standing(), health.streak) == ("paused", 0)
    assert begin(members, to).target.upstream.name == "b"


def test_a_paused_upstream_is_not_asked_after_another_has_failed(members: Members) -> None:
    to = route(target("a"), target("b"))
    members.group(to)
    member(members, "b").limited(60)

    assert judged(begin(members, to), 500)


def test_a_resting_upstream_is_asked_when_all_others_have_failed_but_not_one_that_was_slow(members: Members) -> None:
    to = route(target("a"), target("b"), target("c"))
    members.group(to)
    now = time.time()
    for name, why in (("b", "upstream_unreachable"), ("c", "upstream_timeout_first_byte")):
        member(members, name).health.adopt(Condition(state="ejected", why=why, since=now - 1, until=now + 9))
    trip = begin(members, to)

    trip.failed(UpstreamFailed("No."), again=True)

    assert trip.target.upstream.name == "b"
    trip.turn.first_byte(200, time.monotonic())
    assert member(members, "b").health.standing() == "healthy"
    assert member(members, "c").health.standing() == "ejected"


# -- fallbacks --


def test_fallbacks_stand_in_when_all_upstreams_have_failed(members: Members) -> None:
    trip = begin(members, route(target("a"), fallbacks=("n",)), route(target("x", "n"), target("y", "n")))

    assert not judged(trip, 500)
    assert trip.target.model == "n"
    assert not judged(trip, 500)
    assert (trip.target.model, trip.target.upstream.name) == ("n", "y")
    assert judged(trip, 500)


def test_fallbacks_are_asked_at_once_while_all_upstreams_rest(members: Members) -> None:
    to = route(target("a"), fallbacks=("n",))
    members.group(to)
    rest(member(members, "a"))

    assert begin(members, to, route(target("x", "n"))).target.model == "n"


def test_the_only_upstream_of_a_model_rests_if_there_is_a_fallback(members: Members) -> None:
    to, other = route(target("a"), fallbacks=("n",)), route(target("x", "n"))

    for _ in range(3):
        assert not judged(begin(members, to, other), 500)

    assert member(members, "a").health.standing() == "ejected"


def test_a_context_that_is_too_long_goes_to_a_fallback_and_to_no_other_upstream(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b"), fallbacks=("n",)), route(target("x", "n")))

    assert not judged(trip, 400, body=b'{"error":{"code":"context_length_exceeded"}}')

    assert trip.target.model == "n"
    assert member(members, "a").health.streak == 0


def test_another_400_goes_nowhere(members: Members) -> None:
    trip = begin(members, route(target("a"), fallbacks=("n",)), route(target("x", "n")))

    assert judged(trip, 400, body=b'{"error":{"code":"invalid_value"}}')


# -- health --


def test_the_last_healthy_upstream_is_never_ejected(members: Members) -> None:
    to = route(target("a"), target("b"), max_retries=0)
    for name in "ab":
        one = next(m for m in members.group(to).all if m.name == name)
        for _ in range(5):
            one.failed("http_500", trial=False, fresh=True, midway=False)

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


# -- room --


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


def test_calls_that_wait_look_again_when_the_config_gives_more_room(members: Members) -> None:
    members.keep([route(target("a", max_concurrent=1), queue_timeout=10)])
    begin(members, route(target("a", max_concurrent=1), queue_timeout=10))
    waits = gevent.spawn(lambda: begin(members, route(target("a", max_concurrent=1), queue_timeout=10)))
    gevent.sleep(0)

    members.keep([route(target("a", max_concurrent=2), queue_timeout=10)])
    waits.join(5)

    assert waits.successful()
