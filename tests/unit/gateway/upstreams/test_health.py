"""When an upstream rests, and when it is asked again."""

from __future__ import annotations

import pytest

from llm_one_api.gateway.upstreams.health import FEWEST, LONGEST_PAUSE, LONGEST_REST, Condition, Health, Others
from tests.harness.calls import Clock

COOLDOWN = 30.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(max_failures=3, cooldown=COOLDOWN, clock=clock)


def fail(health: Health, times: int = 1, *, trial: bool = False, may_rest: bool = True, why: str = "http_500") -> bool:
    """Give whether the last failure changed its condition."""
    return [health.failed(why, trial=trial, fresh=True, may_rest=may_rest) for _ in range(times)][-1]


def eject(health: Health) -> None:
    assert fail(health, 3)


def test_an_upstream_is_healthy_until_it_has_failed_so_often_in_a_row(health: Health) -> None:
    assert not fail(health, 2)
    assert health.standing() == "healthy"

    assert fail(health)

    assert health.standing() == "ejected"
    assert health.condition.why == "http_500"


def test_an_answer_between_failures_begins_the_count_anew(health: Health) -> None:
    fail(health, 2)
    health.answered(fresh=True)

    assert not fail(health, 2)
    assert health.standing() == "healthy"


def test_failures_that_other_processes_saw_count_too(health: Health) -> None:
    health.others = Others(streak=2, processes=2)

    assert fail(health)


def test_after_the_cooldown_one_call_at_a_time_may_try(health: Health, clock: Clock) -> None:
    eject(health)
    clock.now += COOLDOWN - 1
    assert health.standing() == "ejected"

    clock.now += 1
    assert health.standing() == "trial"
    assert health.may_be_tried

    health.begin_trial()
    assert not health.may_be_tried
    health.end_trial()
    assert health.may_be_tried


def test_a_trial_that_is_answered_brings_it_back(health: Health, clock: Clock) -> None:
    eject(health)
    clock.now += COOLDOWN

    assert health.answered(fresh=True)

    assert health.standing() == "healthy"
    assert not fail(health, 2), "what was before is forgotten"


def test_trials_that_fail_double_the_rest_up_to_a_bound(health: Health, clock: Clock) -> None:
    eject(health)
    rests = []
    for _ in range(6):
        rests.append(health.condition.until - clock.now)
        clock.now = health.condition.until
        assert fail(health, trial=True)

    assert rests == [COOLDOWN * n for n in (1, 2, 4, 8, LONGEST_REST, LONGEST_REST)]


def test_calls_that_began_before_it_was_ejected_change_nothing(health: Health) -> None:
    eject(health)
    until = health.condition.until

    assert not health.answered(fresh=False)
    assert not health.failed("http_500", trial=False, fresh=False, may_rest=True)

    assert health.standing() == "ejected"
    assert health.condition.until == until


def test_the_last_one_is_kept_and_says_so(health: Health) -> None:
    assert not fail(health, 5, may_rest=False)

    assert health.standing() == "healthy"
    assert health.kept

    health.answered(fresh=True)
    assert not health.kept


def test_a_kept_one_rests_at_its_next_failure_once_another_is_there(health: Health) -> None:
    fail(health, 5, may_rest=False)

    assert fail(health)


def test_many_failures_among_many_answers_eject_too(health: Health) -> None:
    for _ in range(FEWEST // 2):
        health.answered(fresh=True)
        fail(health)

    assert health.standing() == "ejected"
    assert health.condition.why == "error_rate"


def test_few_calls_say_nothing_of_the_rate(health: Health) -> None:
    for _ in range(FEWEST // 2 - 1):
        health.answered(fresh=True)
        fail(health)

    assert health.standing() == "healthy"


def test_the_rate_is_that_of_all_processes(health: Health) -> None:
    health.others = Others(requests=100, failures=0, processes=2)
    for _ in range(30):
        health.answered(fresh=True)
        fail(health)

    assert health.standing() == "healthy"


def test_failures_of_more_than_a_minute_ago_do_not_count(health: Health, clock: Clock) -> None:
    for _ in range(FEWEST // 2 - 1):
        fail(health)
        health.answered(fresh=True)
    clock.now += 61

    fail(health)

    assert health.seen() == (1, 1)
    assert health.standing() == "healthy"


def test_an_answer_that_broke_midway_is_one_call_that_failed(health: Health) -> None:
    health.answered(fresh=True)
    health.failed("upstream_truncated", trial=False, fresh=True, may_rest=True, answered_after=0)

    assert health.seen() == (1, 1)


def test_one_that_breaks_off_every_answer_rests_too(health: Health) -> None:
    for streak in range(3):
        before = health.streak
        health.answered(fresh=True)
        health.failed("upstream_truncated", trial=False, fresh=True, may_rest=True, answered_after=before)
        assert health.streak == streak + 1

    assert health.standing() == "ejected"


def test_one_that_says_when_to_come_back_pauses_until_then_and_has_not_failed(health: Health, clock: Clock) -> None:
    assert health.limited(7)

    assert health.standing() == "paused"
    assert health.seen() == (0, 0)
    clock.now += 7
    assert health.standing() == "healthy"


def test_a_pause_is_not_told_anew_for_each_call_that_was_under_way(health: Health, clock: Clock) -> None:
    health.limited(7)
    clock.now += 0.1

    assert not health.limited(7)
    assert health.limited(20)


def test_no_pause_is_endless(health: Health, clock: Clock) -> None:
    health.limited(10**9)

    assert health.condition.until == clock.now + LONGEST_PAUSE


def test_a_429_of_a_trial_shows_that_it_is_there(health: Health, clock: Clock) -> None:
    eject(health)
    clock.now += COOLDOWN

    assert health.limited(5)

    assert health.standing() == "paused"


def test_probes_that_fail_eject_one_that_has_no_calls(health: Health) -> None:
    assert not health.probed("upstream_unreachable", may_rest=True)
    health.probed("upstream_unreachable", may_rest=True)

    assert health.probed("upstream_unreachable", may_rest=True)

    assert health.condition.why == "probe_failed"


def test_a_probe_that_reaches_an_unreachable_one_has_it_tried_at_once(health: Health) -> None:
    fail(health, 3, why="upstream_unreachable")

    assert health.probed(None, may_rest=True)

    assert health.standing() == "trial"


def test_a_probe_says_nothing_of_one_that_answers_with_errors(health: Health) -> None:
    eject(health)

    assert not health.probed(None, may_rest=True)

    assert health.standing() == "ejected"


def test_while_probes_fail_no_call_has_to_try(health: Health, clock: Clock) -> None:
    eject(health)
    clock.now += COOLDOWN - 1

    health.probed("upstream_unreachable", may_rest=True)

    clock.now += COOLDOWN - 1
    assert health.standing() == "ejected"


def test_what_was_found_last_counts(health: Health, clock: Clock) -> None:
    eject(health)
    since = health.condition.since

    health.adopt(Condition(state="healthy", since=since - 1))
    assert health.standing() == "ejected"

    health.adopt(Condition(state="healthy", since=since + 1))
    assert health.standing() == "healthy"
    assert not fail(health, 2), "its failures of before are forgotten"


def test_a_clock_that_is_set_back_does_not_hide_what_is_found_later(health: Health, clock: Clock) -> None:
    eject(health)
    before = health.condition.since
    clock.now -= 3600

    health.answered(fresh=True)

    assert health.condition.since > before
