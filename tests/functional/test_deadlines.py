"""Upstreams that are slow, fall silent or send much: each deadline for itself, and long events and answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.harness.gateway import Gateway, gateway, id_of, read_all, read_until, settings
from tests.harness.upstream import (
    DONE,
    FINISH,
    STREAM_HEAD,
    USAGE,
    Conversation,
    Script,
    Upstream,
    chunk,
    delta,
    scripted,
    stream,
)

MB = 1 << 20
DEADLINES = {"connect_timeout": 1, "first_byte_timeout": 1, "idle_timeout": 1, "timeout": 1.5}
VECTORS = json.dumps(
    {
        "object": "list",
        "model": "demo",
        "data": [{"index": n, "embedding": [n / 7] * 2000} for n in range(100)],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
).encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def deaf() -> Iterator[str]:
    """The address of one that accepts no connection: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture(scope="module")
def quick(upstream: Upstream, deaf: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Has short deadlines for upstreams; reads on when a caller leaves."""
    made = settings(upstream.url, DEADLINES, on_client_gone="drain")
    made["models"]["deaf"] = {**DEADLINES, "api_base": deaf}
    with gateway(tmp_path_factory.mktemp("quick"), made) as it:
        yield it


def dripping(head: bytes, piece: bytes) -> Script:
    """Send *head*, then *piece* again and again, without a pause that a deadline for silence would see."""

    def drip(talk: Conversation) -> None:
        talk.send(head)
        while not talk.go.wait(0.1):
            talk.send(piece)

    return drip


def long_head() -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(VECTORS)


# -- deadlines --


def test_a_connection_that_is_not_accepted_is_a_504_at_its_deadline(quick: Gateway) -> None:
    answer = quick.post(model="deaf")

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout_connect")
    record = quick.record(answer.headers["x-request-id"])
    assert record.outcome == "timeout"
    assert [attempt.error for attempt in record.attempts] == ["upstream_timeout_connect"]


@pytest.mark.parametrize(
    ("head", "piece", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", "upstream_timeout_first_byte"),
        (long_head(), b" ", "upstream_timeout_total"),
    ],
    ids=["in its head", "in its body"],
)
def test_an_answer_that_only_drips_is_a_504_at_its_deadline(
    quick: Gateway, upstream: Upstream, head: bytes, piece: bytes, code: str
) -> None:
    upstream.answer(dripping(head, piece))

    answer = quick.post()

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, code)
    assert quick.record(answer.headers["x-request-id"]).outcome == "timeout"


def test_an_answer_that_falls_silent_is_a_504(quick: Gateway, upstream: Upstream) -> None:
    def falls_silent(talk: Conversation) -> None:
        talk.send(long_head() + VECTORS[:1000])
        talk.wait_closed()

    upstream.answer(falls_silent)

    answer = quick.post()

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout_idle")
    assert quick.record(answer.headers["x-request-id"]).outcome == "timeout"


def test_a_stream_that_never_ends_is_ended_with_an_error_event(quick: Gateway, upstream: Upstream) -> None:
    upstream.answer(dripping(STREAM_HEAD, chunk(delta("on and on"))))

    with quick.begin(stream=True) as sock:
        seen = read_all(sock)

    assert b"on and on" in seen
    assert b'"code":"upstream_timeout_total"' in seen
    assert not seen.endswith(b"0\r\n\r\n")
    assert quick.record(id_of(seen)).outcome == "timeout"


# -- much at once --


def test_an_event_of_any_length_passes_to_the_byte(quick: Gateway, upstream: Upstream) -> None:
    events = [delta("a"), delta("long" * 75_000), delta("b"), FINISH, USAGE, DONE]
    upstream.answer(stream(*events))

    answer = quick.post(stream=True, stream_options={"include_usage": True})

    assert answer.content == b"".join(events)
    record = quick.record(answer.headers["x-request-id"])
    assert (record.outcome, record.usage.total_tokens) == ("success", 8)


def test_a_long_event_that_breaks_off_is_followed_by_an_error_event_of_its_own(
    quick: Gateway, upstream: Upstream
) -> None:
    def breaks(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + chunk(delta("a")) + chunk(delta("long" * 75_000)[:-500]))
        talk.reset()

    upstream.answer(breaks)

    with quick.begin(stream=True) as sock:
        seen = read_all(sock)

    assert b'\n\ndata: {"error"' in seen
    assert quick.record(id_of(seen)).outcome == "truncated"


def test_an_answer_of_more_than_a_megabyte_passes_to_the_byte(quick: Gateway, upstream: Upstream) -> None:
    assert len(VECTORS) > 2 * MB
    upstream.answer(lambda talk: talk.send(long_head() + VECTORS))

    answer = quick.post("/v1/embeddings")

    assert answer.content == VECTORS
    record = quick.record(answer.headers["x-request-id"])
    assert (record.outcome, record.usage.total_tokens) == ("success", 9)


@pytest.mark.parametrize(
    ("ends", "outcome", "error"),
    [
        ("closes", "truncated", "upstream_truncated"),
        ("falls silent", "timeout", "upstream_timeout_idle"),
    ],
)
def test_a_long_answer_that_breaks_midway_never_looks_whole(
    quick: Gateway, upstream: Upstream, ends: str, outcome: str, error: str
) -> None:
    def breaks(talk: Conversation) -> None:
        talk.send(long_head() + VECTORS[:-10])
        if ends == "falls silent":
            talk.wait_closed()
        talk._sock.shutdown(socket.SHUT_RDWR)

    upstream.answer(breaks)

    with quick.begin() as sock:
        seen = read_all(sock)

    assert seen.count(b"HTTP/1.1") == 1
    assert not seen.endswith(b"0\r\n\r\n")
    record = quick.record(id_of(seen))
    assert (record.outcome, record.error, record.status) == (outcome, error, 200)


def test_a_long_answer_whose_caller_left_is_read_to_its_usage(quick: Gateway, upstream: Upstream) -> None:
    def goes_on(talk: Conversation) -> None:
        talk.send(long_head() + VECTORS[:-10])
        talk.go.wait(20)
        talk.send(VECTORS[-10:])

    upstream.answer(goes_on)
    sock = quick.begin(buffer=4096)
    seen = read_until(sock, b"\r\n\r\n")

    sock.close()
    upstream.seen[0].go.set()

    record = quick.record(id_of(seen))
    assert (record.outcome, record.usage_source, record.usage.total_tokens) == ("client_gone", "reported", 9)
