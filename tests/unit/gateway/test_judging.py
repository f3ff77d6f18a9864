"""What an upstream's answer says of it, and whether another one is asked."""

from __future__ import annotations

import pytest

from llm_one_api.dialects.refusals import is_too_long
from llm_one_api.gateway.judging import PAUSE, asks_elsewhere, is_ill, pause_of

NOW = 1_790_000_000.0


@pytest.mark.parametrize("status", [401, 403, 408, 409, 429, 500, 501, 502, 503, 504, 529, 301, 307])
def test_what_another_upstream_may_answer_otherwise_is_asked_there(status: int) -> None:
    assert asks_elsewhere(status)


@pytest.mark.parametrize("status", [200, 201, 400, 402, 404, 405, 413, 415, 422, 451])
def test_what_is_the_callers_matter_is_asked_nowhere_else(status: int) -> None:
    assert not asks_elsewhere(status)
    assert not is_ill(status)


@pytest.mark.parametrize("status", [409, 429, 501])
def test_an_upstream_that_is_busy_or_lacks_something_is_not_ill(status: int) -> None:
    assert not is_ill(status)


@pytest.mark.parametrize("status", [401, 403, 408, 500, 503, 529, 302])
def test_an_upstream_that_fails_is_ill(status: int) -> None:
    assert is_ill(status)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:30 GMT"}, 10.0),
        ({"retry-after": "Mon, 21 Sep 2020 14:13:30 GMT"}, 0.0),
    ],
)
def test_a_429_says_how_long_it_wants_no_calls(headers: dict[str, str], seconds: float) -> None:
    assert pause_of(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "Mon, 99 Sep 2026 14:13:30 GMT",
        "Mon, 21 Sep 99999999999999999999 14:13:30 GMT",
    ],
)
def test_one_that_does_not_say_is_given_a_moment(text: str) -> None:
    assert pause_of({"retry-after": text}, NOW) == PAUSE


@pytest.mark.parametrize(
    "said",
    [
        b'{"error":{"message":"This model\'s maximum context length is 8192.","code":"context_length_exceeded"}}',
        b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens.","code":400}',
        b'{"error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000"}}',
        b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}',
        b'{"error":{"message":"Please reduce the length of the messages or completion.","param":"messages"}}',
        b'{"error":{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens"}}',
        b'{"error":{"message":"the request exceeds the available context size. try increasing the context size"}}',
    ],
)
def test_a_context_that_is_too_long_is_known_by_what_providers_say(said: bytes) -> None:
    assert is_too_long(said)


@pytest.mark.parametrize("said", [b"", b'{"error":{"message":"max_tokens is too large: 200000","param":"max_tokens"}}'])
def test_other_errors_are_not_taken_for_it(said: bytes) -> None:
    assert not is_too_long(said)
