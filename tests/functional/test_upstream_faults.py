"""An upstream that fails in any way: the caller gets another one's answer, and the record says what happened."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from email.utils import formatdate

import pytest
import requests

from llm_one_api.values import Attempt, UsageRecord
from tests.harness.failover import balanced, model
from tests.harness.gateway import Gateway, id_of
from tests.harness.processes import free_port, wait_until
from tests.harness.product import KEY
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

GOOD = CHAT.replace(b'"c1"', b'"other"')
"""What the other upstream answers."""
SHORT = b'{"id":"first","choices":[],"usage":{"total_tokens":3}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
WHOLE = HEAD % len(SHORT) + SHORT
STREAMED = b'{"model":"m","stream":true,"messages":[]}'
SOON = 0.3
"""Seconds of patience, where a test runs out of it."""


@pytest.fixture(scope="module")
def first() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """An upstream that lets the kernel take connections, and never says anything: gives host and port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """A server without TLS that says so, as nginx does, whatever comes: gives host and port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as sock:
                        sock.recv(65536)
                        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        answering.join(10)


@pytest.fixture(scope="module")
def running(
    first: Upstream, other: Upstream, silent: str, plain: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    urls = first.url, other.url
    patience = {"first_byte_timeout": SOON, "idle_timeout": SOON, "connect_timeout": SOON}
    models = {
        "m": model(*urls),
        "forms": model(*urls),  # of its own: a form is no trial, and so is not sent to one that others have seen fail
        "forms, refused": model(f"http://127.0.0.1:{free_port()}/v1", other.url),
        "impatient": model(*urls, **patience),
        "one time for all": model(*urls, timeout=SOON),
        "alone": model(first.url),
        "silent": model(f"http://{silent}/v1", other.url, **patience),
        "silent in TLS": model(f"https://{silent}/v1", other.url, **patience),
        "no TLS": model(f"https://{plain}/v1", other.url),
        "refuses": model(f"http://127.0.0.1:{free_port()}/v1", other.url),
        "all refuse": model(f"http://127.0.0.1:{free_port()}/v1", f"http://127.0.0.1:{free_port()}/v1"),
        **{f"paused {way}": model(*urls) for way in PAUSES},
        **{f"rests after {way}": model(*urls, max_failures=1, cooldown=60) for way in RESTS},
    }
    with balanced(tmp_path_factory.mktemp("faults"), models) as it:
        yield it


PAUSES: dict[str, Callable[[], bytes]] = {
    "in seconds": lambda: b"Retry-After: 2",
    "in milliseconds": lambda: b"Retry-After-Ms: 1500\r\nRetry-After: 9",
    "by a date": lambda: b"Retry-After: " + formatdate(time.time() + 3, usegmt=True).encode(),
}


RESTS: dict[str, Script] = {"a 503": json_answer(503, b"{}"), "a reset": lambda talk: talk.reset()}


@pytest.fixture
def it(running: Gateway, other: Upstream) -> Iterator[Gateway]:
    """The gateway, which after the test still runs in the same process."""
    other.answer(json_answer(200, GOOD))
    before = running.workers()
    yield running
    assert running.workers() == before


def breaks(data: bytes) -> Script:
    """Send this much, then reset the connection."""

    def answer(talk: Conversation) -> None:
        if data:
            talk.send(data)
        talk.reset()

    return answer


def hangs(data: bytes) -> Script:
    """Send this much, then nothing."""

    def answer(talk: Conversation) -> None:
        talk.send(data)
        talk.wait_closed()

    return answer


def leave_no_connection(it: Gateway, first: Upstream) -> None:
    """Have the gateway keep none, so that the next call opens one."""
    first.answer(json_answer(200, SHORT, b"Connection: close\r\n"))
    assert it.post().content == SHORT


def closes(data: bytes) -> Script:
    def answer(talk: Conversation) -> None:
        talk.send(data)
        talk._sock.shutdown(socket.SHUT_RDWR)

    return answer


def seen(attempts: tuple[Attempt, ...]) -> list[tuple[str, str | int | None]]:
    """Tell of each attempt where it went and what came of it."""
    return [(attempt.upstream, attempt.error or attempt.status) for attempt in attempts]


def told(it: Gateway, given: requests.Response) -> UsageRecord:
    return it.record(given.headers["x-request-id"])


def told_all(it: Gateway, ids: Sequence[str]) -> list[UsageRecord]:
    """Wait for the records of calls, of which each has one."""

    def found() -> list[UsageRecord]:
        records = it.records()
        assert len({record.request_id for record in records}) == len(records)
        made = {record.request_id: record for record in records}
        return [made[id_] for id_ in ids] if set(ids) <= set(made) else []

    return wait_until(found, timeout=8, what="all calls have a record")


def assert_the_other_answered(it: Gateway, given: requests.Response, failed: str | int) -> None:
    assert (given.status_code, given.content) == (200, GOOD)
    record = told(it, given)
    assert (record.outcome, record.upstream, record.usage.total_tokens) == ("success", "u1", 170)
    assert seen(record.attempts) == [("u0", failed), ("u1", 200)]
    assert all(attempt.duration >= 0 for attempt in record.attempts)


# -- connections --


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("refuses", "upstream_unreachable"),
        ("silent", "upstream_timeout_first_byte"),
        ("silent in TLS", "upstream_timeout_connect"),
        ("no TLS", "upstream_tls"),
    ],
)
def test_an_upstream_that_cannot_be_talked_to_is_stood_in_for(it: Gateway, name: str, code: str) -> None:
    given = it.post(model=name)

    assert_the_other_answered(it, given, code)
    assert given.elapsed.total_seconds() < 5


def test_where_nobody_can_be_reached_there_is_one_clear_error(it: Gateway) -> None:
    given = it.post(model="all refuse")

    error = given.json()["error"]
    assert (given.status_code, error["code"], error["type"]) == (502, "upstream_unreachable", "api_error")
    assert float(given.headers["retry-after"]) >= 1
    record = told(it, given)
    assert (record.outcome, record.status, record.error) == ("upstream_error", 502, "upstream_unreachable")
    assert seen(record.attempts) == [("u0", "upstream_unreachable"), ("u1", "upstream_unreachable")]


def test_a_reset_at_any_byte_of_an_answer_is_answered_by_another(it: Gateway, first: Upstream, other: Upstream) -> None:
    leave_no_connection(it, first)
    first.answer(*[breaks(WHOLE[:at]) for at in range(len(WHOLE))])

    given = [it.post() for _ in range(len(WHOLE))]

    assert [answer.content for answer in given] == [GOOD] * len(WHOLE)
    assert (len(first.seen), len(other.seen)) == (len(WHOLE), len(WHOLE))
    made = told_all(it, [answer.headers["x-request-id"] for answer in given])
    assert {(record.outcome, record.upstream, record.usage.total_tokens) for record in made} == {("success", "u1", 170)}
    head = len(WHOLE) - len(SHORT)
    in_head = [("u0", "upstream_closed"), ("u1", 200)]
    in_body = [("u0", "upstream_truncated"), ("u1", 200)]
    assert [seen(record.attempts) for record in made] == [in_head] * head + [in_body] * len(SHORT)
    assert {record.attempts[0].status for record in made[head:]} == {200}


def test_a_stream_that_resets_before_its_first_byte_is_answered_by_another_and_later_it_is_told(
    it: Gateway, first: Upstream, other: Upstream
) -> None:
    """At each byte: nothing is asked again of which the caller may have seen a part."""
    event = delta("a")
    whole = STREAM_HEAD + chunk(event) + chunk(FINISH)[:20]
    begins = len(STREAM_HEAD) + len(chunk(event)) - len(event) - 2
    leave_no_connection(it, first)
    first.answer(*[breaks(whole[:at]) for at in range(len(whole))])
    other.answer(stream(delta("b"), FINISH, USAGE, DONE))

    given = [it.exchange(b"Content-Length: %d" % len(STREAMED), body=STREAMED) for _ in range(len(whole))]

    made = told_all(it, [id_of(answer) for answer in given])
    for answer, record in zip(given[: begins + 1], made, strict=False):
        assert answer.endswith(DONE + b"\r\n0\r\n\r\n")
        assert (record.outcome, record.upstream, len(record.attempts)) == ("success", "u1", 2)
    for answer, record in zip(given[begins + 1 :], made[begins + 1 :], strict=True):
        assert answer.endswith(b'"code":"upstream_truncated"}}\n\n\r\n')
        assert (record.outcome, record.upstream, seen(record.attempts)) == ("truncated", "u0", [("u0", 200)])
    assert len(other.seen) == begins + 1


# -- time --


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "upstream_timeout_first_byte"),
        (WHOLE[:30], "upstream_timeout_first_byte"),
        (WHOLE[: -len(SHORT)], "upstream_timeout_first_byte"),
        (WHOLE[:-1], "upstream_timeout_idle"),
        (HEAD % (len(SHORT) + 9) + SHORT, "upstream_timeout_idle"),
        (STREAM_HEAD, "upstream_timeout_first_byte"),
    ],
    ids=["at once", "in the head", "before the body", "in the body", "length too long", "before the first event"],
)
def test_an_answer_that_stops_is_waited_for_as_long_as_is_set(
    it: Gateway, first: Upstream, sent: bytes, code: str
) -> None:
    first.answer(hangs(sent))

    given = it.post(model="impatient", stream=sent == STREAM_HEAD)

    assert_the_other_answered(it, given, code)
    assert SOON < given.elapsed.total_seconds() < 5
    assert first.seen[0].closed.wait(5), "its connection is not kept"


def test_an_answer_that_drips_has_no_more_time_than_the_call(it: Gateway, first: Upstream, other: Upstream) -> None:
    def drips(talk: Conversation) -> None:
        talk.send(HEAD % 100_000)
        with suppress(OSError):
            while not talk.go.wait(0.02):
                talk.send(b" ")

    first.answer(drips)

    given = it.post(model="one time for all")

    assert (given.status_code, given.json()["error"]["code"]) == (504, "upstream_timeout_total")
    assert SOON <= given.elapsed.total_seconds() < 5
    record = told(it, given)
    assert (record.outcome, record.status) == ("timeout", 504)
    assert seen(record.attempts) == [("u0", "upstream_timeout_total")]
    assert other.seen == []
    first.seen[0].go.set()


def test_an_answer_that_is_slow_but_in_time_is_the_answer(it: Gateway, first: Upstream, other: Upstream) -> None:
    def slowly(talk: Conversation) -> None:
        for at in range(0, len(WHOLE), 50):
            talk.send(WHOLE[at : at + 50])
            talk.go.wait(0.05)

    first.answer(slowly)

    given = it.post(model="impatient")

    assert (given.status_code, given.content) == (200, SHORT)
    assert seen(told(it, given).attempts) == [("u0", 200)]
    assert other.seen == []


# -- what is no answer --


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"ICY 200 OK\r\n\r\n", "upstream_bad_answer"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "upstream_bad_answer"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "upstream_bad_answer"),
        (b"x" * 200_000, "upstream_bad_answer"),
        (WHOLE.replace(b"Length: 5", b"Length: x"), "upstream_bad_answer"),
        (WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n"), "upstream_bad_answer"),
        (HEAD % (len(SHORT) + 9) + SHORT, "upstream_truncated"),
        (STREAM_HEAD + b"zz\r\n", "upstream_bad_answer"),
    ],
    ids=["shoutcast", "TLS", "status line", "endless", "length", "two lengths", "length too long", "chunk"],
)
def test_what_is_no_whole_answer_in_http_is_none(it: Gateway, first: Upstream, sent: bytes, code: str) -> None:
    first.answer(closes(sent))

    given = it.post()

    assert_the_other_answered(it, given, code)


def test_an_answer_of_which_more_came_than_it_says_is_none_where_it_was_cut(it: Gateway, first: Upstream) -> None:
    first.answer(lambda talk: talk.send(HEAD % (len(SHORT) - 5) + SHORT), json_answer(200, CHAT))

    given, after = it.post(), it.post()

    assert_the_other_answered(it, given, "upstream_truncated")
    assert after.content == CHAT


def test_gzip_that_nobody_asked_for_passes_as_what_it_is(it: Gateway, first: Upstream) -> None:
    first.answer(json_answer(200, gzip.compress(CHAT), b"Content-Encoding: gzip\r\n"))

    given = it.post()

    assert b"accept-encoding: identity" in first.seen[0].head.lower()
    assert (given.headers["content-encoding"], given.content) == ("gzip", CHAT)
    record = told(it, given)
    assert seen(record.attempts) == [("u0", 200)]
    assert record.outcome == "success"


# -- errors that upstreams answer with --


@pytest.mark.parametrize("status", [401, 403, 408, 409, 500, 502, 503, 504, 520, 529])
def test_an_error_that_another_may_not_have_is_answered_by_another(it: Gateway, first: Upstream, status: int) -> None:
    first.answer(json_answer(status, b'{"error":{"message":"no"}}'))

    given = it.post()

    assert_the_other_answered(it, given, status)


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422, 451])
def test_an_error_of_the_caller_s_own_is_the_answer(it: Gateway, first: Upstream, other: Upstream, status: int) -> None:
    said = b'{"error":{"message":"you","type":"invalid_request_error","param":"x","code":null}}'
    first.answer(json_answer(status, said))

    given = it.post()

    assert (given.status_code, given.content) == (status, said)
    record = told(it, given)
    assert (record.outcome, seen(record.attempts)) == ("client_error", [("u0", status)])
    assert other.seen == []


def test_bursts_of_500_reach_no_caller(it: Gateway, first: Upstream) -> None:
    good, bad = json_answer(200, SHORT), json_answer(500, b"{}")
    first.answer(*[bad, bad, good, bad, bad, bad, bad, bad, good, good])

    given = [it.post() for _ in range(10)]

    assert {answer.status_code for answer in given} == {200}
    made = told_all(it, [answer.headers["x-request-id"] for answer in given])
    assert [len(record.attempts) for record in made] == [2, 2, 1, 2, 2, 2, 2, 2, 1, 1]


def test_where_all_fail_the_last_one_s_answer_is_the_answer(it: Gateway, first: Upstream, other: Upstream) -> None:
    first.answer(breaks(b""))
    other.answer(json_answer(503, b'{"error":{"message":"full"}}'))

    given = it.post()

    assert (given.status_code, given.json()["error"]["message"]) == (503, "full")
    record = told(it, given)
    assert (record.outcome, record.status) == ("upstream_error", 503)
    assert seen(record.attempts)[-2:] == [("u0", "upstream_closed"), ("u1", 503)]


@pytest.mark.parametrize("way", RESTS)
def test_where_all_others_fail_one_that_rests_is_asked_before_a_call_is_lost(
    it: Gateway, first: Upstream, other: Upstream, way: str
) -> None:
    leave_no_connection(it, first)
    first.answer(RESTS[way], json_answer(200, CHAT))
    assert it.post(model=f"rests after {way}").content == GOOD
    other.answer(json_answer(500, b"{}"))

    given = it.post(model=f"rests after {way}")

    assert (given.status_code, given.content) == (200, CHAT)
    assert seen(told(it, given).attempts) == [("u1", 500), ("u0", 200)]


@pytest.mark.parametrize("way", PAUSES)
def test_one_that_says_when_to_come_back_is_left_alone_until_then(
    it: Gateway, first: Upstream, other: Upstream, way: str
) -> None:
    header = PAUSES[way]()
    first.answer(json_answer(429, b"{}", header + b"\r\n"), json_answer(200, SHORT))
    began = time.monotonic()
    limited = it.post(model=f"paused {way}")
    assert_the_other_answered(it, limited, 429)

    meanwhile = it.post(model=f"paused {way}")

    assert seen(told(it, meanwhile).attempts) == [("u1", 200)]
    wait_until(lambda: it.post(model=f"paused {way}").content == SHORT, timeout=10, what="it is asked again")
    assert time.monotonic() - began >= 0.35


def test_with_nobody_else_a_429_is_the_answer_with_its_time(it: Gateway, first: Upstream) -> None:
    first.answer(json_answer(429, b'{"error":{"message":"slower"}}', b"Retry-After: 7\r\n"), json_answer(200, CHAT))

    given, after = it.post(model="alone"), it.post(model="alone")

    assert (given.status_code, given.headers["retry-after"], given.json()["error"]["message"]) == (429, "7", "slower")
    assert after.content == CHAT, "the only one there is is asked all the same"


# -- forms --


def form(it: Gateway, model: str) -> requests.Response:
    """Send a form whose model stands behind a file."""
    files = {"file": ("a.mp3", b"\x00\r\n" * 100_000, "audio/mpeg")}
    headers = {"Authorization": f"Bearer {KEY}"}
    return requests.post(
        f"{it.url}/v1/audio/transcriptions", files=files, data={"model": model}, headers=headers, timeout=30
    )


def test_a_form_goes_to_another_whole_where_the_first_cannot_be_reached(it: Gateway, other: Upstream) -> None:
    other.answer(json_answer(200, b'{"text":"heard"}'))

    given = form(it, "forms, refused")

    assert (given.status_code, given.json()) == (200, {"text": "heard"})
    assert len(other.seen[0].body) > 300_000
    assert seen(told(it, given).attempts) == [("u0", "upstream_unreachable"), ("u1", 200)]


def test_a_form_that_was_sent_is_not_sent_again(it: Gateway, first: Upstream, other: Upstream) -> None:
    first.answer(breaks(b""))

    given = form(it, "forms")

    assert (given.status_code, given.json()["error"]["code"]) == (502, "upstream_closed")
    assert seen(told(it, given).attempts) == [("u0", "upstream_closed")]
    assert other.seen == []
