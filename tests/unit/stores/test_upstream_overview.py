"""How upstreams do, added up over all processes."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from llm_one_api.stores.buckets import bucket_of
from llm_one_api.stores.upstreams.messages import (
    Condition,
    MemberFigures,
    ModelFigures,
    ProcessFigures,
    Standing,
    Told,
)
from llm_one_api.stores.upstreams.overview import UpstreamShown, laid_out, look

SECOND = 10**6
NOW = 1_800_000_000 * SECOND
MEMBER = MemberFigures(
    name="one",
    weight=1,
    max_concurrent=None,
    kept=False,
    in_flight=0,
    requests=0,
    failures=0,
    ttft={},
    duration={},
    error=None,
    error_at=0,
)


def member(**changes: Any) -> MemberFigures:
    return msgspec.structs.replace(MEMBER, **changes)


def process(*members: MemberFigures, read_at: int = 1, **changes: Any) -> ProcessFigures:
    model = {"model": "m", "strategy": "weighted", "fallbacks": ["n"], "waiting": 0, "upstreams": members, **changes}
    return ProcessFigures(config_read_at=read_at, models=[ModelFigures(**model)])


def told(*processes: ProcessFigures, **changes: Any) -> Told:
    named = {str(number): one for number, one in enumerate(processes)}
    return Told(NOW, named, [], {})._replace(**changes)


def shown(it: Told, name: str = "one") -> UpstreamShown:
    return {one.name: one for model in look(it).models for one in model.upstreams}[name]


def condition(state: Any, *, left: int, why: str = "http_500") -> Condition:
    return Condition(state=state, why=why, since=NOW - 5 * SECOND, until=NOW + left * SECOND, rests=1)


def test_what_all_processes_had_is_added_up() -> None:
    fast, slow = bucket_of(100_000), bucket_of(3_000_000)
    it = told(
        process(member(requests=90, failures=4, ttft={fast: 90}, in_flight=2), waiting=1),
        process(
            member(requests=10, failures=1, ttft={slow: 10}, in_flight=3),
            member(name="two", requests=300),
            read_at=2,
            waiting=2,
        ),
    )

    one, two = shown(it), shown(it, "two")

    assert (one.requests, one.failures, one.in_flight) == (100, 5, 5)
    assert (one.share, two.share) == (0.25, 0.75)
    assert one.ttft.p50 == pytest.approx(0.1, rel=0.03)
    assert one.ttft.p95 == pytest.approx(3.0, rel=0.03)
    assert (one.duration.p50, one.duration.p95) == (None, None)
    assert (look(it).processes, look(it).models[0].waiting, look(it).models[0].requests) == (2, 3, 400)


def test_calls_under_way_are_those_that_standings_tell() -> None:
    standing = Standing("m\tone", 4, 0, 0, 0, 0, 0)
    strange = Standing("gone\tone", 9, 0, 0, 0, 0, 0)

    it = told(process(member()), standings=[[standing], [standing, strange]])

    assert shown(it).in_flight == 8


@pytest.mark.parametrize(
    ("known", "state", "why"),
    [
        (None, "healthy", None),
        (Condition(state="healthy", why="", until=0, since=0, rests=0), "healthy", None),
        (condition("healthy", left=0, why=""), "healthy", None),
        (condition("ejected", left=30), "ejected", "http_500"),
        (condition("ejected", left=0), "trial", "http_500"),
        (condition("paused", left=7, why="http_429"), "paused", "http_429"),
        (condition("paused", left=-1, why="http_429"), "healthy", None),
    ],
)
def test_the_state_is_that_of_now_with_its_reason(known: Condition | None, state: str, why: str | None) -> None:
    one = shown(told(process(member()), conditions={} if known is None else {"m\tone": known}))

    assert (one.state, one.why) == (state, why)
    assert (one.until is not None) == (state in {"ejected", "paused"})


def test_an_upstream_that_is_given_nothing_is_off_whatever_is_known_of_it() -> None:
    one = shown(told(process(member(weight=0)), conditions={"m\tone": condition("ejected", left=9)}))

    assert (one.state, one.why) == ("off", "weight 0")


def test_one_that_some_process_would_let_rest_is_kept() -> None:
    assert shown(told(process(member()), process(member(kept=True)))).kept


def test_the_last_error_of_all_processes_is_told_with_its_status() -> None:
    it = told(
        process(member(error="http_503", error_at=NOW - 1)),
        process(member(error="upstream_unreachable", error_at=NOW - 2)),
        process(member()),
    )

    error = shown(it).last_error

    assert error is not None
    assert (error.code, error.status) == ("http_503", 503)


def test_while_a_reload_goes_on_the_newer_config_is_shown() -> None:
    old = process(member(requests=1), member(name="gone"), read_at=1)
    new = process(member(requests=2, weight=5), read_at=2, strategy="random")

    for it in (told(old, new), told(new, old)):
        (model,) = look(it).models
        assert (model.strategy, [(one.name, one.weight, one.requests) for one in model.upstreams]) == (
            "random",
            [("one", 5, 3)],
        )


def test_one_model_can_be_asked_for() -> None:
    it = told(process(member()), process(member(), model="other"))

    assert [model.model for model in look(it).models] == ["m", "other"]
    assert [model.model for model in look(it, model="other").models] == ["other"]
    assert look(it, model="none").models == ()


def test_a_page_tells_times_in_the_zone_of_the_config() -> None:
    it = told(
        process(member(requests=1, error="probe", error_at=NOW - SECOND), member(name="two")),
        conditions={"m\tone": condition("ejected", left=30)},
    )

    page = laid_out(look(it).models[0], ZoneInfo("Asia/Shanghai"))

    assert page == {
        "model": "m",
        "strategy": "weighted",
        "fallbacks": ["n"],
        "waiting": 0,
        "requests": 1,
        "upstreams": [
            {
                "name": "one",
                "state": "ejected",
                "why": "http_500",
                "since": "2027-01-15T15:59:55.000+08:00",
                "until": "2027-01-15T16:00:30.000+08:00",
                "kept": False,
                "weight": 1,
                "max_concurrent": None,
                "in_flight": 0,
                "requests": 1,
                "failures": 0,
                "share": 1.0,
                "ttft": {"p50": None, "p95": None},
                "duration": {"p50": None, "p95": None},
                "last_error": {"code": "probe", "status": None, "at": "2027-01-15T15:59:59.000+08:00"},
            },
            {
                **dict.fromkeys(("why", "since", "until", "max_concurrent", "last_error")),
                **dict.fromkeys(("in_flight", "requests", "failures"), 0),
                "name": "two",
                "state": "healthy",
                "kept": False,
                "weight": 1,
                "share": 0.0,
                "ttft": {"p50": None, "p95": None},
                "duration": {"p50": None, "p95": None},
            },
        ],
    }
