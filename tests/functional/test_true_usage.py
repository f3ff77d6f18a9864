"""Where the figures come from when an upstream does not simply tell them. Real sockets on both sides."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import tiktoken

from llm_one_api.tokens.encodings import load, name_for
from tests.harness.gateway import Gateway
from tests.harness.gateway import gateway as running
from tests.harness.product import KEY, OTHER_KEY, config
from tests.harness.upstream import (
    CHAT,
    DONE,
    FINISH,
    STREAM_HEAD,
    USAGE,
    Conversation,
    Script,
    Upstream,
    chunk,
    delta,
    json_answer,
    scripted,
    stream,
)

REFUSAL = b'{"error":{"message":"Unrecognized request argument supplied: stream_options","code":"unknown_field"}}'
TEXT = "The quick brown 狐狸 jumps 🦊 over the lazy dog. " * 20


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, elsewhere: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = config(upstream.url, server={"drain_seconds": 5})
    settings["models"]["refusing"] = {**settings["models"]["m"], "upstream_model": "refusing"}
    settings["models"]["blamed"] = {**settings["models"]["m"], "upstream_model": "blamed"}
    settings["models"]["elsewhere"] = {"api_base": elsewhere.url, "upstream_model": "other"}
    settings["models"]["claude"] = {"api_base": elsewhere.url, "adapter": "anthropic"}
    settings["auth"]["default_auth"]["api_keys"].append({"key": "sk-drains", "user": "d", "on_client_gone": "drain"})
    with running(tmp_path_factory.mktemp("usage"), settings) as it:
        yield it


def tokens(text: str) -> int:
    encoding: tiktoken.Encoding = load(name_for("demo"))
    return len(encoding.encode(text, disallowed_special=()))


PROMPT = 3 + 1 + 1 + 3
"""Of the harness's usual call, by OpenAI's published framing: `user` and `hi` are a token each."""


def words(text: str, size: int = 17) -> list[bytes]:
    """Stream *text* in small deltas."""
    return [delta(text[at : at + size]) for at in range(0, len(text), size)]


def test_an_upstream_that_refuses_to_be_asked_for_usage_is_asked_once_without_and_remembered(
    gateway: Gateway, upstream: Upstream
) -> None:
    def refuses(talk: Conversation) -> None:
        asked = b"stream_options" in talk.body
        (json_answer(400, REFUSAL) if asked else stream(delta("one two three"), FINISH, DONE))(talk)

    upstream.answer(refuses)

    first = gateway.post(model="refusing", stream=True)
    second = gateway.post(model="refusing", stream=True)

    assert first.content == second.content == delta("one two three") + FINISH + DONE
    assert [b"stream_options" in talk.body for talk in upstream.seen] == [True, False, False]
    records = [gateway.record(answer.headers["x-request-id"]) for answer in (first, second)]
    assert [[a.status for a in r.attempts] for r in records] == [[400, 200], [200]]
    assert [(r.outcome, r.usage_source, r.usage.completion_tokens) for r in records] == [
        ("success", "estimated", tokens("one two three"))
    ] * 2


def test_a_bad_request_of_the_callers_is_not_sent_twice(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer(json_answer(400, b'{"error":{"message":"temperature is too high","code":"bad"}}'))

    answer = gateway.post(stream=True, temperature=9)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad")
    assert len(upstream.seen) == 1
    assert gateway.record(answer.headers["x-request-id"]).outcome == "client_error"


def test_an_answer_that_tells_no_usage_is_counted(gateway: Gateway, upstream: Upstream) -> None:
    body = json.loads(CHAT)
    del body["usage"]
    body["choices"][0]["message"]["content"] = TEXT
    upstream.answer(json_answer(200, json.dumps(body).encode()))

    answer = gateway.post()

    record = gateway.record(answer.headers["x-request-id"])
    assert (record.usage_source, record.outcome) == ("estimated", "success")
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (PROMPT, tokens(TEXT))
    assert record.usage.total_tokens == PROMPT + tokens(TEXT)
    assert record.output_tokens_per_second is not None


@pytest.mark.parametrize("size", [3, 400])
def test_a_stream_that_tells_no_usage_is_counted_however_it_was_cut(
    gateway: Gateway, upstream: Upstream, size: int
) -> None:
    upstream.answer(stream(*words(TEXT * 20, size), FINISH, DONE))

    answer = gateway.post(stream=True)

    record = gateway.record(answer.headers["x-request-id"])
    assert (record.usage_source, record.usage.completion_tokens) == ("estimated", tokens(TEXT * 20))


@pytest.mark.parametrize("ending", ["truncated", "stream_error"])
def test_of_a_stream_that_broke_what_was_seen_is_counted(gateway: Gateway, upstream: Upstream, ending: str) -> None:
    last = [b'data: {"error":{"code":"boom"}}\n\n'] if ending == "stream_error" else []
    upstream.answer(stream(*words(TEXT), *last))

    with gateway.connect() as sock:
        body = json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "user": ending}
        )
        sock.sendall(request(body, KEY))
        while sock.recv(65536):
            pass

    record = gateway.record_of(ending)
    assert (record.outcome, record.usage_source) == (ending, "partial")
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (PROMPT, tokens(TEXT))


@pytest.mark.parametrize(
    ("key", "user", "source", "completion"),
    [(OTHER_KEY, "is-cut", "partial", tokens(TEXT)), ("sk-drains", "is-drained", "reported", 3)],
)
def test_what_a_callers_leaving_means_is_the_keys_to_say(
    gateway: Gateway, upstream: Upstream, key: str, user: str, source: str, completion: int
) -> None:
    left = threading.Event()

    def waits(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + b"".join(map(chunk, words(TEXT))))
        left.wait(10)
        for _ in range(40):  # slowly enough for the gateway to notice, and so that it has something to write
            if talk.go.wait(0.02):
                break
            talk.send(chunk(b": ping\n\n"))
        stream(FINISH, USAGE, DONE, head=b"")(talk)

    upstream.answer(waits)
    with gateway.connect() as sock:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "user": user})
        sock.sendall(request(body, key))
        seen = b""
        while seen.count(b"data: ") < len(words(TEXT)):
            seen += sock.recv(65536)
    left.set()

    record = gateway.record_of(user)
    assert (record.outcome, record.usage_source, record.usage.completion_tokens) == ("client_gone", source, completion)


def test_a_caller_that_left_before_the_answer_began_is_billed_for_what_it_asked(
    gateway: Gateway, upstream: Upstream
) -> None:
    arrived = threading.Event()

    def silent(talk: Conversation) -> None:
        arrived.set()
        talk.wait_closed()

    upstream.answer(silent)
    with gateway.connect() as sock:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": "left-early"})
        sock.sendall(request(body, KEY))
        assert arrived.wait(10)

    record = gateway.record_of("left-early")
    assert (record.outcome, record.usage_source, record.usage.prompt_tokens) == ("client_gone", "partial", PROMPT)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_was_made_before_is_asked_of_whoever_made_it_and_never_counted_again(
    gateway: Gateway, upstream: Upstream, elsewhere: Upstream, method: str
) -> None:
    used = b'{"input_tokens":5,"output_tokens":7,"total_tokens":12}'
    made = b'{"id":"resp_1","status":"completed","model":"other","usage":%b}' % used
    upstream.answer(json_answer(404, b'{"error":{"message":"no such response"}}'))
    elsewhere.answer(json_answer(200, made))

    answer = gateway.ask(method, "/v1/responses/resp_1?include[]=a")

    assert (answer.status_code, answer.content) == (200, made)
    for asked in (upstream, elsewhere):
        [seen] = asked.seen
        assert seen.head.startswith(f"{method} /v1/responses/resp_1?include%5B%5D=a HTTP/1.1".encode())
        assert seen.body == b""
        assert b"content-length" not in seen.head.lower()
    record = gateway.record(answer.headers["x-request-id"])
    assert (record.endpoint, record.outcome, record.response_model) == ("response", "success", "other")
    assert [attempt.status for attempt in record.attempts] == [404, 200]
    assert (record.usage_source, record.usage.total_tokens, record.usage_raw) == ("none", None, None)


@pytest.mark.parametrize("status", [401, 403, 405, 0])
def test_an_upstream_that_cannot_say_does_not_end_the_asking(
    gateway: Gateway, upstream: Upstream, elsewhere: Upstream, status: int
) -> None:
    upstream.answer(json_answer(status, b"{}") if status else Conversation.reset)
    elsewhere.answer(json_answer(200, b'{"id":"resp_1","status":"completed","model":"other"}'))

    answer = gateway.ask("GET", "/v1/responses/resp_1")

    assert answer.status_code == 200
    record = gateway.record(answer.headers["x-request-id"])
    assert (record.outcome, record.model, record.response_model) == ("success", "-", "other")
    assert record.upstream == elsewhere.url.split("/")[2]
    tried = [attempt.status for attempt in record.attempts]
    assert (set(tried[:-1]), tried[-1]) == ({status or None}, 200)


def test_of_what_nobody_knows_not_found_tells_the_most(
    gateway: Gateway, upstream: Upstream, elsewhere: Upstream
) -> None:
    upstream.answer(json_answer(404, b'{"error":{"code":"gone"}}'))
    elsewhere.answer(json_answer(401, b"{}"))

    answer = gateway.ask("GET", "/v1/responses/resp_1")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "gone")
    assert gateway.record(answer.headers["x-request-id"]).upstream == upstream.url.split("/")[2]


def test_what_nobody_made_is_not_found(gateway: Gateway, upstream: Upstream, elsewhere: Upstream) -> None:
    missing: Script = json_answer(404, b'{"error":{"message":"no such response","code":"gone"}}')
    upstream.answer(missing)
    elsewhere.answer(missing)

    answer = gateway.ask("GET", "/v1/responses/resp_2")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "gone")
    assert gateway.record(answer.headers["x-request-id"]).outcome == "client_error"


def test_to_show_a_response_that_failed_is_no_failure(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer(
        json_answer(200, b'{"id":"resp_3","status":"failed","error":{"code":"server_error","message":"x"},"output":[]}')
    )

    answer = gateway.ask("GET", "/v1/responses/resp_3")

    record = gateway.record(answer.headers["x-request-id"])
    assert (answer.json()["error"]["code"], record.outcome, record.error) == ("server_error", "success", None)


@pytest.mark.parametrize("name", ["%2e%2e", "..%2fmodels", "a%20b", "a%3fb", "%00", "x" * 201, ""])
def test_an_id_that_is_none_goes_nowhere(gateway: Gateway, upstream: Upstream, name: str) -> None:
    upstream.answer(json_answer(200, b"{}"))

    answer = gateway.ask("GET", f"/v1/responses/{name}")

    assert answer.status_code in {400, 404, 405}
    assert upstream.seen == []


def request(body: str, key: str) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    return (head + f"Content-Length: {len(body.encode())}\r\n\r\n" + body).encode()


@pytest.mark.parametrize(
    "fault",
    [
        {"tool_choice": "include_usage"},
        {"stream_options": {"no_such": True}},
        {"stream": False, "stream_format": "sse"},
    ],
)
def test_a_mistake_of_one_caller_does_not_end_the_asking_for_all(
    gateway: Gateway, upstream: Upstream, fault: dict[str, Any]
) -> None:
    def judges(talk: Conversation) -> None:
        asked = json.loads(talk.body)
        if asked.get("tool_choice") or "no_such" in asked.get("stream_options", {}):
            json_answer(400, b'{"error":{"message":"no: include_usage, stream_options.no_such","code":"bad"}}')(talk)
        elif not asked["stream"]:
            json_answer(400 if "stream_options" in asked else 200, REFUSAL if "stream_options" in asked else CHAT)(talk)
        else:
            told = [USAGE] if "stream_options" in asked else []
            stream(delta("one"), FINISH, *told, DONE)(talk)

    upstream.answer(judges)

    gateway.post(**{"model": "blamed", "stream": True, **fault})
    answer = gateway.post(model="blamed", stream=True)

    assert b"stream_options" in upstream.seen[-1].body
    assert gateway.record(answer.headers["x-request-id"]).usage_source == "reported"
