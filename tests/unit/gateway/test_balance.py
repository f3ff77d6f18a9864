"""Which upstream a call goes to, and where it goes when that one fails. Over real sockets: `tests/functional`."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm_one_api.errors import UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.answer import ClientLeft
from llm_one_api.gateway.prepare import Unsupported
from llm_one_api.gateway.upstreams.health import Condition
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.plugins import manager
from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig
from tests.harness.trips import (
    CONTEXT,
    EMBEDDINGS,
    STRATEGIES,
    First,
    begin,
    judged,
    member,
    rest,
    route,
    target,
    visit,
)


@pytest.fixture
def members() -> Members:
    return Members(lambda _name: First(PluginConfig()))


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


# -- what becomes of an answer --


def test_an_answer_that_breaks_off_is_a_failure_also_when_that_is_found_after_its_connection_was_let_go(
    members: Members,
) -> None:
    to = route(target("a"), target("b"))
    trip = begin(members, to)
    trip.turn.asked()
    trip.turn.first_byte(200, time.monotonic())

    trip.turn.over()
    trip.turn.failed("upstream_truncated")

    one = member(members, "a")
    assert (one.health.streak, one.health.seen()) == (1, (1, 1))
    assert (one.figures.told().requests, one.figures.told().failures) == (1, 1)


def test_a_call_that_was_never_sent_is_in_no_figure(members: Members) -> None:
    begin(members, route(target("a"))).end()

    assert member(members, "a").figures.told().requests == 0


def test_whose_turn_it_was_when_the_time_was_over_is_not_blamed(members: Members) -> None:
    trip = begin(members, route(target("a"), target("b"), max_retries=0))

    with pytest.raises(UpstreamTimeout):
        trip.failed(UpstreamTimeout("Too long.", code="upstream_timeout_total"), again=True)

    assert member(members, "a").health.streak == 0


def test_a_call_whose_caller_has_left_goes_nowhere_else(members: Members) -> None:
    by = visit()
    trip = begin(members, route(target("a"), target("b")), by=by)
    by.client_gone = True

    with pytest.raises(ClientLeft):
        trip.failed(UpstreamFailed("No."), again=True)


def test_a_call_that_cannot_go_on_is_no_trial_while_another_is_healthy(members: Members) -> None:
    to = route(target("a"), target("b"))
    members.group(to)
    rest(member(members, "b"), -1)

    assert begin(members, to, again=False).target.upstream.name == "a"
    assert begin(members, to).target.upstream.name == "b"


def test_a_call_has_the_time_of_the_model_that_was_asked_for_wherever_it_begins(members: Members) -> None:
    to = route(target("a", total_timeout=3), fallbacks=("n",))
    members.group(to)
    rest(member(members, "a"))
    by = visit()

    begin(members, to, route(target("x", "n", total_timeout=1000)), by=by)

    assert by.total_deadline <= time.monotonic() + 3


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


def test_a_call_that_begins_at_a_fallback_is_charged_to_the_model_that_was_asked_for(members: Members) -> None:
    to = route(target("a"), fallbacks=("n",))
    members.group(to)
    rest(member(members, "a"))

    trip = begin(members, to, route(target("x", "n")))

    assert (trip.target.model, trip.charged.model, trip.charged.upstream.name) == ("n", "m", "x")


def test_no_upstream_is_asked_twice_for_one_call(members: Members) -> None:
    to, other = route(target("a"), fallbacks=("n",)), route(target("x", "n"))
    members.group(to)
    members.group(other)
    rest(member(members, "x", "n"))
    trip = begin(members, to, other)

    assert not judged(trip, 500)
    assert trip.target.upstream.name == "x", "a resting fallback is better than none"
    assert judged(trip, 500)


def test_two_models_that_rest_and_stand_in_for_each_other_are_both_tried(members: Members) -> None:
    to, other = route(target("a"), fallbacks=("n",)), route(target("x", "n"), fallbacks=("m",))
    for one, name, model in ((to, "a", "m"), (other, "x", "n")):
        members.group(one)
        rest(member(members, name, model))
    trip = begin(members, to, other)

    assert trip.target.upstream.name == "a"
    assert not judged(trip, 500)
    assert trip.target.upstream.name == "x"
