"""Callers that stop reading, leave, send half a request, or are too many. Real sockets on both sides."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, id_of, read_all, read_until, request, settings
from tests.harness.processes import wait_until
from tests.harness.product import KEY
from tests.harness.upstream import (
    CHAT,
    DONE,
    FINISH,
    STREAM_HEAD,
    USAGE,
    Conversation,
    Upstream,
    chunk,
    delta,
    json_answer,
    scripted,
    stream,
    waits_for_go,
)

MB = 1 << 20
LOOKED = threading.Event()
"""Never set; waiting a second for it gives the watch, which looks at callers four times a second, its time."""
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def strict(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Short patience with callers; one that leaves ends its call."""
    made = settings(upstream.url, client_stall_timeout=1, body_timeout=1, half_close="gone", on_client_gone="cut")
    with gateway(tmp_path_factory.mktemp("strict"), made) as it:
        yield it


@pytest.fixture(scope="module")
def drains(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Reads on when a caller leaves, within bounds."""
    made = settings(upstream.url, on_client_gone="drain", drain_seconds=1, drain_bytes=200_000)
    with gateway(tmp_path_factory.mktemp("drains"), made) as it:
        yield it


@pytest.fixture(scope="module")
def allows(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Goes on answering callers who have ended their sending side, two calls at a time."""
    with gateway(tmp_path_factory.mktemp("allows"), settings(upstream.url, half_close="allow", max_streams=2)) as it:
        yield it


class Endless:
    """Streams as fast as it is let, far more than kernels buffer; counts."""

    event = b"data: " + b"x" * 60_000 + b"\n\n"

    def __init__(self) -> None:
        self.sent = 0
        self.cut = threading.Semaphore(0)

    def __call__(self, talk: Conversation) -> None:
        talk.send(STREAM_HEAD)
        try:
            for _ in range(5000):
                talk.send(chunk(self.event))
                self.sent += len(self.event)
        except OSError:
            self.cut.release()


# -- callers that stop reading --


def test_callers_that_stop_reading_are_cut_and_recorded_while_others_go_on(strict: Gateway, upstream: Upstream) -> None:
    endless = Endless()
    upstream.answer(endless)
    (worker,) = strict.workers()
    before = worker.memory_info().rss

    with ExitStack() as stack:
        stalled = [stack.enter_context(strict.begin(buffer=4096, stream=True)) for _ in range(15)]
        ids = [id_of(read_until(sock, b"\r\n\r\n")) for sock in stalled]
        upstream.answer(json_answer(200, CHAT))
        others = [strict.post().status_code for _ in range(5)]
        records = [strict.record(request_id) for request_id in ids]
        grown = worker.memory_info().rss - before

    assert others == [200] * 5
    assert {(r.outcome, r.error, r.status) for r in records} == {("client_gone", "client_stalled", 200)}
    assert all(endless.cut.acquire(timeout=10) for _ in ids)
    assert grown < 50 * MB


def test_a_caller_that_reads_slowly_but_reads_is_not_cut(strict: Gateway, upstream: Upstream) -> None:
    events = [b"data: " + b"x" * 200_000 + b"\n\n"] * 40
    upstream.answer(stream(*events, FINISH, USAGE, DONE))

    with strict.begin(buffer=65536, stream=True) as sock:
        seen = bytearray()
        for _ in range(12):  # for more than twice the time in which it would be cut
            LOOKED.wait(0.2)
            until = len(seen) + 150_000
            while len(seen) < until:
                seen += sock.recv(65536)
        seen += read_until(sock, b"[DONE]")

    assert seen.count(b"x" * 1000) >= 40 * 190
    assert strict.record(id_of(bytes(seen[:1000]))).outcome == "success"


def test_answers_that_nobody_reads_hold_no_connection_for_ever(strict: Gateway, upstream: Upstream) -> None:
    upstream.answer(json_answer(200, b"y" * MB))

    with strict.begin(buffer=4096) as whole, strict.connect(buffer=4096) as pipelined:
        wait_until(lambda: strict.connections() == 2)
        pipelined.settimeout(0.2)
        with suppress(TimeoutError, OSError):
            while True:  # until neither side takes any more
                pipelined.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * 100)

        wait_until(lambda: strict.connections() == 0, what="both connections are closed")
        whole.settimeout(5)
        assert len(read_all(whole)) < MB


# -- callers that leave --


@pytest.mark.parametrize("when", ["before the first token", "midway", "before an answer that is no stream"])
def test_a_call_whose_caller_left_is_read_to_its_usage(drains: Gateway, upstream: Upstream, when: str) -> None:
    def goes_on(talk: Conversation) -> None:
        if when == "midway":
            talk.send(STREAM_HEAD + chunk(delta("a")))
        talk.go.wait(20)
        if when == "before an answer that is no stream":
            json_answer(200, CHAT)(talk)
        else:
            head = b"" if when == "midway" else STREAM_HEAD
            stream(delta("b"), FINISH, USAGE, DONE, head=head)(talk)

    upstream.answer(goes_on)
    sock = drains.begin(stream="no stream" not in when, user=when)
    (talk,) = wait_until(lambda: upstream.seen, what="the call is upstream")
    if when == "midway":
        read_until(sock, b'"a"')
    sock.close()
    LOOKED.wait(1)

    talk.go.set()

    record = drains.record_of(when)
    assert (record.outcome, record.error) == ("client_gone", "client_gone")
    assert (record.usage_source, record.usage.total_tokens) == ("reported", 170 if "no stream" in when else 8)


def test_draining_ends_at_so_many_bytes(drains: Gateway, upstream: Upstream) -> None:
    endless = Endless()
    upstream.answer(endless)
    sock = drains.begin(stream=True, buffer=4096)
    request_id = id_of(read_until(sock, b"\r\n\r\n"))

    sock.close()

    assert endless.cut.acquire(timeout=10)
    record = drains.record(request_id)
    assert (record.outcome, record.usage_source) == ("client_gone", "partial")


@pytest.mark.parametrize("begun", [True, False])
def test_draining_ends_after_so_many_seconds(drains: Gateway, upstream: Upstream, begun: bool) -> None:
    seconds: list[float] = []

    def falls_silent(talk: Conversation) -> None:
        if begun:
            talk.send(STREAM_HEAD + chunk(delta("a")))
        began = time.monotonic()
        if talk.wait_closed():
            seconds.append(time.monotonic() - began)

    upstream.answer(falls_silent)
    sock = drains.begin(stream=True, user=f"silent {begun}")
    wait_until(lambda: upstream.seen, what="the call is upstream")
    if begun:
        read_until(sock, b'"a"')
    sock.close()

    record = drains.record_of(f"silent {begun}")
    assert (record.outcome, record.usage_source) == ("client_gone", "partial")
    assert wait_until(lambda: seconds)[0] > 0.7  # not at once


def test_a_caller_may_end_its_side_and_read_on_where_that_is_allowed(allows: Gateway, upstream: Upstream) -> None:
    upstream.answer(waits_for_go)
    with allows.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        sock.shutdown(socket.SHUT_WR)
        LOOKED.wait(1)
        upstream.seen[0].go.set()
        rest = read_all(sock)

    assert rest.endswith(b"[DONE]\n\n\r\n0\r\n\r\n")
    record = allows.record(id_of(seen))
    assert (record.outcome, record.usage.total_tokens) == ("success", 8)


def test_a_caller_that_ends_its_side_counts_as_gone_elsewhere(strict: Gateway, upstream: Upstream) -> None:
    upstream.answer(waits_for_go)
    with strict.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        sock.shutdown(socket.SHUT_WR)

        rest = read_all(sock)

    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert strict.record(id_of(seen)).outcome == "client_gone"


# -- too many callers --


def test_calls_beyond_the_limit_are_refused_until_one_ends(allows: Gateway, upstream: Upstream) -> None:
    upstream.answer(waits_for_go)
    with allows.begin(stream=True) as first, allows.begin(stream=True) as second:
        read_until(first, b'"a"')
        read_until(second, b'"a"')

        refused = allows.post()
        others = [requests.get(allows.url + path, headers=AUTH, timeout=5) for path in ("/health/live", "/v1/stats")]
        upstream.seen[0].go.set()
        upstream.seen[1].go.set()
        read_until(first, b"0\r\n\r\n")
        read_until(second, b"0\r\n\r\n")
    upstream.answer(json_answer(200, CHAT))
    later = [allows.post().status_code for _ in range(5)]

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_calls")
    assert int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in others] == [200, 200]
    assert later == [200] * 5
    record = allows.record(refused.headers["x-request-id"])
    assert (record.outcome, record.status, record.error) == ("rejected", 503, "too_many_calls")


# -- bodies --


def test_a_body_that_does_not_come_in_time_is_refused_and_goes_nowhere(strict: Gateway, upstream: Upstream) -> None:
    upstream.answer(json_answer(200, CHAT))
    body = json.dumps({"model": "m", "messages": []}).encode()

    with ExitStack() as stack:
        slow = [stack.enter_context(strict.connect()) for _ in range(60)]
        for sock in slow:
            sock.sendall(request(body[:5], length=len(body)))
        others = strict.post().status_code
        for at in range(5, 8):
            for sock in slow:
                sock.sendall(body[at : at + 1])
        answers = [read_until(sock, b"}}") for sock in slow]

    assert others == 200
    assert all(b" 400 " in answer and b"body_timeout" in answer for answer in answers)
    assert len(upstream.seen) == 1
    assert {strict.record(id_of(answer)).error for answer in answers} == {"body_timeout"}
