"""Who answers in whose place: other keys, other names, other dialects, other models; and who waits for room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from tests.harness.failover import balanced, model
from tests.harness.gateway import Gateway
from tests.harness.processes import free_port, wait_until
from tests.harness.services import Valkey
from tests.harness.upstream import (
    CHAT,
    DONE,
    FINISH,
    USAGE,
    Conversation,
    Upstream,
    delta,
    json_answer,
    scripted,
    stream,
)

GOOD = CHAT.replace(b'"c1"', b'"other"')
ANTHROPIC = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-2026","content":[{"type":"text","text":"Hello"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":4}}'
)
TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 4096 tokens.",'
    b'"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}'
)


@pytest.fixture(scope="module")
def first() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(
    first: Upstream, other: Upstream, session_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    away = f"http://127.0.0.1:{free_port()}/v1"
    mixed = model(first.url, other.url)
    mixed["upstreams"][0].update(api_key="sk-first-key", upstream_model="first-model")
    mixed["upstreams"][1].update(api_key="sk-other-key", upstream_model="claude-2026", adapter="anthropic")
    narrow = {"max_concurrent": 1, "max_queue": 1, "queue_timeout": 10}
    hurried = {**narrow, "queue_timeout": 0.2}
    models = {
        "m": model(first.url, other.url),
        "mixed": mixed,
        "away": model(away, fallbacks=["also away", "large"]),
        "also away": model(away),
        "small": model(first.url, fallbacks=["large"]),
        "large": model(other.url, upstream_model="large-2026"),
        "narrow": model(first.url, **narrow),
        "narrow and hurried": model(first.url, **hurried),
        "narrow with a fallback": model(first.url, **hurried, fallbacks=["large"]),
    }
    redis = {"url": session_valkey.url, "key_prefix": "standing-in:"}
    with balanced(tmp_path_factory.mktemp("standing"), models, server={"workers": 1}, redis=redis) as it:
        yield it


@pytest.fixture
def it(running: Gateway, first: Upstream, other: Upstream) -> Gateway:
    first.answer(json_answer(200, CHAT))
    other.answer(json_answer(200, GOOD))
    return running


def holds(talk: Conversation) -> None:
    """Answer when the test says so."""
    assert talk.go.wait(20)
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT))


def says_nothing(talk: Conversation) -> None:
    talk.wait_closed()


def test_each_upstream_is_called_by_its_own_name_key_and_dialect(it: Gateway, first: Upstream, other: Upstream) -> None:
    first.answer(json_answer(503, b"{}"))
    other.answer(json_answer(200, ANTHROPIC))

    given = it.post(model="mixed")

    said = given.json()
    assert (said["object"], said["choices"][0]["message"]["content"]) == ("chat.completion", "Hello")
    assert json.loads(first.seen[0].body)["model"] == "first-model"
    assert b"sk-first-key" in first.seen[0].head
    assert b"sk-other-key" not in first.seen[0].head
    assert json.loads(other.seen[0].body)["model"] == "claude-2026"
    assert b"sk-other-key" in other.seen[0].head
    assert b"sk-first-key" not in other.seen[0].head
    record = it.record(given.headers["x-request-id"])
    assert (record.model, record.upstream, record.upstream_model) == ("mixed", "u1", "claude-2026")
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (9, 4)


def test_a_stream_that_another_answers_has_all_that_was_asked_for(
    it: Gateway, first: Upstream, other: Upstream
) -> None:
    first.answer(json_answer(500, b"{}"))
    other.answer(stream(delta("a"), FINISH, USAGE, DONE))

    given = it.post(stream=True)

    assert given.content == delta("a") + FINISH + DONE
    assert json.loads(other.seen[0].body)["stream_options"] == {"include_usage": True}
    assert it.record(given.headers["x-request-id"]).usage.total_tokens == 8


def test_a_fallback_answers_where_no_upstream_of_the_model_does(it: Gateway, other: Upstream) -> None:
    given = it.post(model="away")

    assert given.content == GOOD
    assert json.loads(other.seen[0].body)["model"] == "large-2026"
    record = it.record(given.headers["x-request-id"])
    assert (record.outcome, record.model, record.upstream_model) == ("success", "away", "large-2026")
    assert [attempt.error for attempt in record.attempts] == ["upstream_unreachable", "upstream_unreachable", None]


def test_a_context_that_is_too_long_goes_to_the_fallback(it: Gateway, first: Upstream) -> None:
    first.answer(json_answer(400, TOO_LONG))

    given = it.post(model="small")

    assert given.content == GOOD
    record = it.record(given.headers["x-request-id"])
    assert (record.outcome, [attempt.status for attempt in record.attempts]) == ("success", [400, 200])


def test_what_is_too_long_for_the_fallback_too_is_told(it: Gateway, first: Upstream, other: Upstream) -> None:
    first.answer(json_answer(400, TOO_LONG))
    other.answer(json_answer(400, TOO_LONG.replace(b"4096", b"9999")))

    given = it.post(model="small")

    assert (given.status_code, given.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert b"9999" in given.content
    assert it.record(given.headers["x-request-id"]).outcome == "client_error"


def test_a_caller_who_leaves_while_the_first_is_silent_is_sent_nowhere_else(
    it: Gateway, first: Upstream, other: Upstream
) -> None:
    first.answer(says_nothing)
    with it.begin(user="left early"):
        wait_until(lambda: first.seen, what="the first has the call")

    record = it.record_of("left early")
    assert (record.outcome, [attempt.error for attempt in record.attempts]) == ("client_gone", ["client_gone"])
    assert first.seen[0].closed.wait(5)
    assert other.seen == []


def test_a_call_waits_for_room_and_no_more_wait_than_may(it: Gateway, first: Upstream) -> None:
    first.answer(holds)
    with ThreadPoolExecutor() as pool:
        has_room = pool.submit(it.post, model="narrow")
        wait_until(lambda: len(first.seen) == 1, what="the upstream has the first call")
        both = [pool.submit(it.post, model="narrow") for _ in range(2)]
        turned_away, waits = wait(both, timeout=8, return_when=FIRST_COMPLETED)
        assert len(first.seen) == len(turned_away) == len(waits) == 1
        first.seen[0].go.set()
        wait_until(lambda: len(first.seen) == 2, what="the upstream has the second call")
        first.seen[1].go.set()

        assert [one.result().content for one in [has_room, *waits]] == [CHAT, CHAT]
    refused = turned_away.pop().result()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_busy")
    assert float(refused.headers["retry-after"]) >= 1


def test_a_call_that_waits_too_long_for_room_is_refused(it: Gateway, first: Upstream) -> None:
    first.answer(holds)
    with ThreadPoolExecutor() as pool:
        has_room = pool.submit(it.post, model="narrow and hurried")
        wait_until(lambda: len(first.seen) == 1, what="the upstream has the first call")

        refused = it.post(model="narrow and hurried")
        first.seen[0].go.set()

        assert has_room.result().status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_busy")
    record = it.record(refused.headers["x-request-id"])
    assert (record.outcome, record.attempts) == ("rejected", ())


def test_what_finds_no_room_in_time_goes_to_a_fallback(it: Gateway, first: Upstream) -> None:
    first.answer(holds)
    with ThreadPoolExecutor() as pool:
        has_room = pool.submit(it.post, model="narrow with a fallback")
        wait_until(lambda: len(first.seen) == 1, what="the upstream has the first call")

        given = it.post(model="narrow with a fallback")
        first.seen[0].go.set()

        assert has_room.result().content == CHAT
    assert given.content == GOOD
