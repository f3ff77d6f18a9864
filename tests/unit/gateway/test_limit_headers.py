"""What answers tell of the limits that hold for them."""

from __future__ import annotations

import pytest

from llm_one_api.errors import LimitsUnavailable, Overloaded, QuotaExceeded, RateLimited
from llm_one_api.gateway.limit_headers import duration, of, with_standing
from llm_one_api.gateway.reply import Reply
from llm_one_api.values import Standing

BOTH = Standing(requests=(500, 499, 120), tokens=(30_000, 29_000, 360_000))


def reply(**headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=200, headers=named, body=(b"{}",), waited=0.25, length=2)


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (0, "0s"),
        (-5, "0s"),
        (12, "12ms"),
        (999, "999ms"),
        (1000, "1s"),
        (8640, "8.64s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (86_400, "1m26.4s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (5_400_500, "1h30m0.5s"),
    ],
)
def test_times_are_written_as_openai_writes_them(ms: int, written: str) -> None:
    assert duration(ms) == written


def test_both_pairs_are_told_and_those_of_requests_once_more_under_the_plain_names() -> None:
    assert of(BOTH) == {
        "x-ratelimit-limit": "500",
        "x-ratelimit-remaining": "499",
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "29000",
        "x-ratelimit-reset-tokens": "6m0s",
    }


@pytest.mark.parametrize("standing", [None, Standing(), Standing(requests=(), tokens=())])
def test_where_nothing_is_limited_nothing_is_told_and_the_answer_passes_as_it_is(standing: Standing | None) -> None:
    came = reply(x_ratelimit_limit_requests="9000", anthropic_ratelimit_tokens_remaining="1")

    assert with_standing(came, standing) is came


def test_of_what_is_not_limited_there_is_no_header() -> None:
    told = of(Standing(tokens=(100, 40, 1500)))

    assert told == {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "40",
        "x-ratelimit-reset-tokens": "1.5s",
    }


def test_what_remains_is_never_less_than_nothing() -> None:
    assert of(Standing(requests=(5, -2, 0)))["x-ratelimit-remaining-requests"] == "0"


def test_the_upstreams_own_limits_are_told_apart_from_ours_and_all_else_stays() -> None:
    came = reply(
        content_type="application/json",
        retry_after="3",
        x_ratelimit_remaining_requests="8999",
        x_ratelimit_limit_images="7",
        anthropic_ratelimit_input_tokens_remaining="1",
        anthropic_version="2023-06-01",
    )

    told = with_standing(came, Standing(requests=(5, 4, 1000)))

    assert dict(told.headers) == {
        "content-type": "application/json",
        "retry-after": "3",
        "anthropic-version": "2023-06-01",
        "x-upstream-ratelimit-remaining-requests": "8999",
        "x-upstream-ratelimit-limit-images": "7",
        "x-upstream-ratelimit-input-tokens-remaining": "1",
        **of(Standing(requests=(5, 4, 1000))),
    }
    assert (told.status, told.body, told.waited, told.length) == (200, (b"{}",), 0.25, 2)


@pytest.mark.parametrize(
    ("seconds", "whole", "ms"),
    [(0.0004, "1", "1"), (0.3, "1", "300"), (1.0, "1", "1000"), (1.2001, "2", "1201"), (60.0, "60", "60000")],
)
def test_nobody_is_told_to_come_back_too_early_or_at_once(seconds: float, whole: str, ms: str) -> None:
    told = RateLimited("Slow down.", of="tokens", retry_after=seconds).headers

    assert told == {"retry-after": whole, "retry-after-ms": ms}


def test_what_no_time_mends_is_not_to_be_tried_again() -> None:
    too_large = RateLimited("Too large.", of="tokens", never=True)
    spent = QuotaExceeded("Spent.")

    assert too_large.headers == spent.headers == {"x-should-retry": "false"}
    assert (too_large.status, too_large.type, too_large.code) == (429, "tokens", "rate_limit_exceeded")
    assert (spent.status, spent.type, spent.code) == (429, "insufficient_quota", "insufficient_quota")


def test_limits_that_cannot_be_looked_up_are_an_overload_with_a_name_of_its_own() -> None:
    error = LimitsUnavailable("Later.", retry_after=5)

    assert isinstance(error, Overloaded)
    assert (error.status, error.code, error.headers["retry-after"]) == (503, "limits_unavailable", "5")
    assert Overloaded("Later.").headers == {}
