"""Answers made to break things: each is a clear 502 or passes clean, and none reaches the next caller."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.harness.gateway import Gateway, gateway, id_of, read_all, settings
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
)

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(upstream.url, {"first_byte_timeout": 2, "idle_timeout": 2})
    with gateway(tmp_path_factory.mktemp("hostile"), made) as it:
        yield it


@pytest.fixture
def it(running: Gateway) -> Iterator[Gateway]:
    """The gateway, which after the test still runs in the same process and can be called."""
    before = running.workers()
    yield running
    assert running.workers() == before


def with_headers(*headers: bytes, status: bytes = b"200 OK", body: bytes = CHAT) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def and_closes(data: bytes) -> Script:
    def answer(talk: Conversation) -> None:
        talk.send(data)
        talk._sock.shutdown(socket.SHUT_RDWR)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        with_headers(b"openai-x: " + b"a" * 400_000),
        with_headers(*[b"x-%d: a" % n for n in range(20_000)]),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 20_000 + with_headers(),
        with_headers(b"openai-x: a\0b"),
        with_headers(b"openai-x: a\rset-cookie: b"),
        with_headers(b"openai-x: a\nset-cookie: b"),
        with_headers(b"openai-x: a\r\n b"),
        with_headers(b"openai x: a"),
        with_headers(b"Content-Length: 5"),
        with_headers(b"Transfer-Encoding: chunked"),
        with_headers(status=b"99 X"),
        with_headers(status=b"12345 X"),
        OK + b"Content-Length: -1\r\n\r\n" + CHAT,
        OK + b"Content-Length: 99999999999999999999999\r\n\r\n" + CHAT,
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nxx\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(CHAT),
        b"HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}",
        CHAT,
    ],
    ids=lambda answer: repr(answer[:40]),
)
def test_an_answer_that_is_not_http_or_not_whole_is_a_502(it: Gateway, upstream: Upstream, answer: bytes) -> None:
    upstream.answer(and_closes(answer))

    given = it.post()

    assert (given.status_code, given.json()["error"]["type"]) == (502, "api_error")
    record = it.record(given.headers["x-request-id"])
    assert (record.outcome, record.status) == ("upstream_error", 502)


@pytest.mark.parametrize(
    "headers",
    [
        [*[b"x-%d: a" % n for n in range(200)], *[b"openai-%d: a" % n for n in range(50)]],
        [b"openai-x: " + b"a" * 60_000],
        [b"openai-x: caf\xe9"],
        [b"set-cookie: a=b", b"x-api-key: k", b"Authorization: Bearer k", b"server: s"],
        [b"Keep-Alive: 5", b"Proxy-Authenticate: x", b"Upgrade: h2c", b"TE: x", b"Trailer: y", b"Via: z"],
    ],
    ids=["many", "long", "not ASCII", "secret", "hop by hop"],
)
def test_of_an_odd_head_what_may_pass_passes(it: Gateway, upstream: Upstream, headers: list[bytes]) -> None:
    upstream.answer(json_answer(200, CHAT, b"\r\n".join(headers) + b"\r\n"))

    given = it.post()

    passed = {header for header in headers if header.startswith(b"openai-")}
    assert given.content == CHAT
    assert {f"{n}: {v}".encode("latin-1") for n, v in given.headers.items() if n.startswith("openai-")} == passed
    ours = {"date", "connection", "content-type", "content-length", "x-request-id", "x-llm-one-api-overhead-ms"}
    assert {n.lower() for n in given.headers if not n.startswith("openai-")} <= ours | {"server"}
    assert given.headers.get("server") != "s"


@pytest.mark.parametrize("status", [b"204 No Content", b"205 Reset Content"])
def test_a_body_where_none_may_be_is_dropped_with_its_connection(
    it: Gateway, upstream: Upstream, status: bytes
) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
    upstream.answer(lambda talk: talk.send(head + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))

    given = it.post()
    upstream.answer(json_answer(200, CHAT))
    after = [it.post().content for _ in range(3)]

    assert (given.status_code, given.content) == (int(status[:3]), b"")
    assert after == [CHAT] * 3


@pytest.mark.parametrize("late", [False, True])
def test_what_comes_after_an_answer_is_nobodys_answer(it: Gateway, upstream: Upstream, late: bool) -> None:
    sent = threading.Event()

    def answers_twice(talk: Conversation) -> None:
        first, second = with_headers(), with_headers(body=b'{"model":"evil"}')
        if late:
            talk.send(first)
            talk.go.wait(10)
            talk.send(second)
        else:
            talk.send(first + second)
        sent.set()

    upstream.answer(answers_twice, json_answer(200, CHAT))
    first = it.post()
    upstream.seen[0].go.set()
    sent.wait(10)

    after = [it.post() for _ in range(3)]

    assert [answer.content for answer in [first, *after]] == [CHAT] * 4


@pytest.mark.parametrize("status", [300, 301, 303, 304, 307, 308])
def test_a_redirect_is_not_followed(it: Gateway, upstream: Upstream, status: int) -> None:
    with scripted() as elsewhere:
        location = b"Location: " + elsewhere.url.encode() + b"/chat/completions\r\n"
        upstream.answer(lambda talk: talk.send(b"HTTP/1.1 %d X\r\n%bContent-Length: 0\r\n\r\n" % (status, location)))

        given = it.post()

        assert (given.status_code, given.json()["error"]["code"]) == (502, "upstream_redirect")
        assert "location" not in given.headers
        assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (EVENTS + b"Content-Length: 5000\r\n\r\n" + delta("a"), True),
        (EVENTS + b"Content-Length: 5000\r\n\r\n" + delta("a") + delta("b")[:30], True),
        (EVENTS + b"\r\n" + delta("a") + delta("b")[:30], True),
        (STREAM_HEAD + chunk(delta("a") + delta("你")[:-90]), True),
        (STREAM_HEAD + chunk(delta("a")) + b"50\r\ndata: ", True),
        (STREAM_HEAD + b"0\r\n\r\n", False),
    ],
    ids=["by length", "by length in an event", "without a length", "in a character", "in a chunk", "empty"],
)
def test_a_stream_that_is_cut_off_ends_in_an_error_event_and_never_clean(
    it: Gateway, upstream: Upstream, answer: bytes, whole: bool
) -> None:
    upstream.answer(and_closes(answer))

    with it.begin(stream=True) as sock:
        seen = read_all(sock)

    assert (delta("a") in seen) == whole
    assert seen.endswith(b'"code":"upstream_truncated"}}\n\n\r\n')
    assert b'\r\ndata: {"error"' in seen
    assert it.record(id_of(seen)).outcome == "truncated"


def test_events_that_mean_nothing_pass_and_hide_no_usage(it: Gateway, upstream: Upstream) -> None:
    odd = [
        b'data: {"a":\xff}\n\n',
        b"data: " + b"[" * 50_000 + b"\n\n",
        b"event: x\nid: 1\nretry: 5\n\n",
        b": comment\n\n",
        b'data: {"usage":5,"choices":7,"error":null}\n\n',
        b'data: {"usage":{"prompt_tokens":NaN}}\n\n',
        b'data: {"choices":[{}],"usage":{"prompt_tokens":%b}}\n\n' % (b"9" * 5000),
        b"data: null\n\n",
    ]
    upstream.answer(
        lambda talk: talk.send(STREAM_HEAD + b"".join(map(chunk, [*odd, FINISH, USAGE, DONE])) + b"0\r\n\r\n")
    )

    given = it.post(stream=True)

    assert given.content == b"".join([*odd, FINISH, DONE])
    record = it.record(given.headers["x-request-id"])
    assert (record.outcome, record.usage.total_tokens) == ("success", 8)


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":' + b"[" * 100_000,
        b'{"usage":{"prompt_tokens":NaN}}',
        b'{"usage":{"prompt_tokens":%b}}' % (b"9" * 5000),
        b'{"usage":{"prompt_tokens":-1e400,"total_tokens":"5"}}',
        b'{"usage":{"x":"\xff","prompt_tokens":5}}',
        b'{"usage":[1],"choices":"x","model":5}',
        b'{"model":"\\ud800","usage":{"prompt_tokens":1}}',
        b"\xff\xfe",
        b"",
    ],
    ids=["deep", "NaN", "long", "range", "text", "wrong types", "surrogate", "not UTF-8", "empty"],
)
def test_an_answer_that_we_cannot_read_passes_and_what_it_used_is_counted(
    it: Gateway, upstream: Upstream, body: bytes
) -> None:
    upstream.answer(json_answer(200, body))

    given = it.post()

    assert (given.status_code, given.content) == (200, body)
    record = it.record(given.headers["x-request-id"])
    assert (record.outcome, record.usage_source) == ("success", "estimated")
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (8, 0)
