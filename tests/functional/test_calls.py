"""What a caller gets and what is recorded, whatever the upstream and the caller do. Real sockets on both sides."""

from __future__ import annotations

import json
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from llm_one_api.stores.journal.entries import Closed, Ended
from llm_one_api.stores.journal.segments import ACKED
from tests.harness.calls import entries
from tests.harness.processes import free_port, wait_until
from tests.harness.product import KEY, Product, config, product
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
)

MODEL = {"connect_timeout": 1, "first_byte_timeout": 1, "idle_timeout": 1, "timeout": 4}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    settings = config(
        upstream.url, server={"workers": 2, "max_body_bytes": 10_000, "body_timeout": 1, "drain_timeout": 1}
    )
    settings["models"]["m"].update(MODEL)
    settings["models"]["gone"] = {"api_base": f"http://127.0.0.1:{free_port()}/v1"}
    with product(tmp_path_factory.mktemp("calls"), settings) as it:
        yield it


def record_of(gateway: Product, answer: requests.Response | str) -> dict[str, Any]:
    request_id = answer if isinstance(answer, str) else answer.headers["x-request-id"]
    return gateway.record(request_id)


def open_call(gateway: Product, **body: Any) -> socket.socket:
    """Send a call over a socket of the test's own."""
    payload = json.dumps({"model": "m", "messages": [], **body}).encode()
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (KEY.encode(), len(payload), payload)
    )
    return sock


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def request_id_of(head: bytes) -> str:
    return next(x.split(b": ")[1].decode() for x in head.split(b"\r\n") if x.startswith(b"x-request-id"))


def test_an_answer_comes_back_to_the_byte_with_what_belongs_to_it(gateway: Product, upstream: Upstream) -> None:
    extra = (
        b"openai-processing-ms: 12\r\nx-ratelimit-remaining-requests: 9\r\nset-cookie: a=b\r\nx-request-id: req_up\r\n"
        b"openai-organization: the-operators\r\n"
    )
    upstream.answer(json_answer(200, CHAT, extra))

    answer = gateway.call(user="end-1")

    assert answer.content == CHAT
    assert answer.headers["openai-processing-ms"] == "12"
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert {"set-cookie", "openai-organization"}.isdisjoint(answer.headers)
    assert float(answer.headers["x-llm-one-api-overhead-ms"]) >= 0
    record = record_of(gateway, answer)
    assert (record["response_model"], record["service_tier"], record["finish_reason"]) == (
        "demo-2026",
        "default",
        "stop",
    )
    assert (record["provider_request_id"], record["end_user"]) == ("req_up", "end-1")
    assert record["usage"]["cache_read_tokens"] == 7
    assert json.loads(upstream.seen[0].body)["model"] == "demo"


def test_the_callers_key_and_hop_by_hop_headers_stop_at_the_gateway(gateway: Product, upstream: Upstream) -> None:
    upstream.answer(json_answer(200, CHAT))
    headers = {"Authorization": f"Bearer {KEY}", "X-Api-Key": "canary", "Cookie": "c=1", "TE": "trailers"}

    requests.post(
        gateway.url + "/v1/chat/completions",
        json={"model": "m"},
        headers={**headers, "Proxy-Authorization": "p"},
        timeout=9,
    )

    head = upstream.seen[0].head.lower()
    assert KEY.encode() not in head
    assert b"bearer sk-upstream-secret-0009" in head
    for name in (b"x-api-key", b"cookie", b"\r\nte:", b"proxy-authorization"):
        assert name not in head


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_body"),
        (b"{}", 400, "missing_model"),
        (b'{"model": 5}', 400, "invalid_type"),
        (b'{"model": "m", "x": NaN}', 400, "invalid_json"),
        (b'{"model": "m", "x": ' + b"[" * 5000, 400, "invalid_json"),
        (b'{"model": "nope"}', 404, "model_not_found"),
        (b'{"model": "m", "pad": "' + b"x" * 10_000 + b'"}', 413, "request_too_large"),
    ],
)
def test_a_body_that_cannot_be_used_gets_a_clear_error_and_goes_nowhere(
    gateway: Product, upstream: Upstream, body: bytes, status: int, code: str
) -> None:
    upstream.answer(json_answer(200, CHAT))

    answer = requests.post(
        gateway.url + "/v1/chat/completions", data=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=9
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert upstream.seen == []
    assert record_of(gateway, answer)["outcome"] == "rejected"


def test_a_body_that_ends_too_early_goes_nowhere(gateway: Product, upstream: Upstream) -> None:
    upstream.answer(json_answer(200, CHAT))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=9) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % KEY.encode())
        sock.sendall(b'Content-Length: 500\r\n\r\n{"model": "m"}')
        answer = read_until(sock, b"}}")

    assert b" 400 " in answer or b" 408 " in answer
    assert upstream.seen == []


def test_unknown_paths_and_wrong_methods_are_told_in_the_same_shape(gateway: Product) -> None:
    path = requests.get(gateway.url + "/nope", timeout=9)
    method = requests.get(gateway.url + "/v1/chat/completions", timeout=9)

    assert (path.status_code, path.json()["error"]["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "x-request-id" in path.headers


@pytest.mark.parametrize(
    ("status", "given", "outcome"),
    [
        (400, 400, "client_error"),
        (401, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (302, 502, "upstream_error"),
        (429, 429, "upstream_error"),
        (500, 500, "upstream_error"),
    ],
)
def test_an_upstreams_error_passes_unless_it_is_about_our_key(
    gateway: Product, upstream: Upstream, status: int, given: int, outcome: str
) -> None:
    body = b'{"error":{"message":"m","type":"t","param":null,"code":"the_code"}}'
    upstream.answer(json_answer(status, body, b"retry-after: 7\r\n"))

    answer = gateway.call()

    assert answer.status_code == given
    record = record_of(gateway, answer)
    assert (record["outcome"], record["status"]) == (outcome, given)
    if status == given:
        assert answer.content == body
        assert answer.headers["retry-after"] == "7"
        assert record["error"] == "the_code"


def test_an_upstream_that_cannot_be_reached_is_a_502(gateway: Product) -> None:
    answer = gateway.call(model="gone")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert record_of(gateway, answer)["outcome"] == "upstream_error"


def silent(talk: Conversation) -> None:
    talk.wait_closed()


def test_an_upstream_that_says_nothing_is_a_504_at_its_deadline(gateway: Product, upstream: Upstream) -> None:
    upstream.answer(silent)

    answer = gateway.call()

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout_first_byte")
    assert record_of(gateway, answer)["outcome"] == "timeout"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-nothing\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"",
    ],
)
def test_an_answer_that_is_none_is_a_clear_502(gateway: Product, upstream: Upstream, garbage: bytes) -> None:
    def answer_garbage(talk: Conversation) -> None:
        talk.send(garbage)
        talk.reset() if not garbage else talk._sock.shutdown(socket.SHUT_RDWR)

    upstream.answer(answer_garbage)

    answer = gateway.call()

    assert answer.status_code == 502
    assert record_of(gateway, answer)["outcome"] == "upstream_error"


def test_early_hints_before_the_answer_are_passed_over(gateway: Product, upstream: Upstream) -> None:
    body = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
        len(CHAT),
        CHAT,
    )
    upstream.answer(lambda talk: talk.send(body))

    assert gateway.call().content == CHAT


def test_a_kept_connection_that_ends_without_a_byte_is_tried_once_more(gateway: Product, upstream: Upstream) -> None:
    def leave(talk: Conversation) -> None:
        talk.reset()

    for _ in range(30):  # until the call goes over a connection that was kept
        upstream.answer(json_answer(200, CHAT), leave, json_answer(200, CHAT))
        gateway.call()
        answer = gateway.call()
        if answer.status_code == 200 and len(upstream.seen) == 3:
            break

    record = record_of(gateway, answer)
    assert [a["error"] for a in record["attempts"]] == ["stale_connection", None]
    assert record["outcome"] == "success"


def test_events_pass_as_they_come_also_without_a_length(gateway: Product, upstream: Upstream) -> None:
    talks: list[Conversation] = []

    def step_by_step(talk: Conversation) -> None:
        talks.append(talk)
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for event in (delta("a"), delta("b"), FINISH + USAGE + DONE):
            assert talk.go.wait(10)
            talk.go.clear()
            talk.send(event)
        talk._sock.shutdown(socket.SHUT_RDWR)

    upstream.answer(step_by_step)
    with open_call(gateway, stream=True) as sock:
        head = read_until(sock, b"\r\n\r\n")  # before the first event
        talks[0].go.set()
        first = read_until(sock, b'"a"')
        talks[0].go.set()
        second = read_until(sock, b'"b"')
        talks[0].go.set()
        rest = read_until(sock, b"0\r\n\r\n")

    assert b" 200 " in head
    assert b'"b"' not in first + head
    assert b"[DONE]" not in second
    assert b'"prompt_tokens"' not in rest  # the caller did not ask
    record = record_of(gateway, request_id_of(head))
    assert (record["outcome"], record["usage"]["total_tokens"]) == ("success", 8)


@pytest.mark.parametrize("ends", ["clean", "cut"])
def test_a_stream_that_breaks_midway_raises_in_the_official_client(
    gateway: Product, upstream: Upstream, ends: str
) -> None:
    def breaks(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + chunk(delta("a")) + chunk(delta("b")[:20]))
        if ends == "clean":
            talk.send(b"0\r\n\r\n")
        else:
            talk.reset()

    upstream.answer(breaks)
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as api:
        raw = api.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
        with pytest.raises(openai.APIError, match="upstream"):
            list(raw.parse())

    record = record_of(gateway, raw.headers["x-request-id"])
    assert (record["outcome"], record["error"]) == ("truncated", "upstream_truncated")


def test_a_stream_that_falls_silent_ends_with_an_error_event(gateway: Product, upstream: Upstream) -> None:
    def falls_silent(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + chunk(delta("a")))
        talk.wait_closed()

    upstream.answer(falls_silent)
    with open_call(gateway, stream=True) as sock:
        seen = read_until(sock, b"upstream_timeout_idle")
        assert not sock.recv(65536).endswith(b"0\r\n\r\n")

    assert record_of(gateway, request_id_of(seen))["outcome"] == "timeout"


def test_an_error_event_of_the_upstreams_passes_and_the_connection_is_aborted(
    gateway: Product, upstream: Upstream
) -> None:
    upstream.answer(stream(delta("a"), b'data: {"error":{"message":"m","type":"t","code":"overloaded"}}\n\n', DONE))

    with open_call(gateway, stream=True) as sock:
        seen = read_until(sock, b"[DONE]")
        rest = sock.recv(65536)

    assert b"overloaded" in seen
    assert b"0\r\n\r\n" not in seen[-10:] + rest  # no clean end
    record = record_of(gateway, request_id_of(seen))
    assert (record["outcome"], record["error"]) == ("stream_error", "overloaded")


@pytest.mark.parametrize("after", ["before the first token", "midway"])
def test_a_caller_that_leaves_is_noticed_within_a_second(gateway: Product, upstream: Upstream, after: str) -> None:
    noticed = threading.Event()

    def waits(talk: Conversation) -> None:
        if after == "midway":
            talk.send(STREAM_HEAD + chunk(delta("a")))
        if talk.wait_closed(0.95):
            noticed.set()

    upstream.answer(waits)
    who = f"leaves {after}"
    sock = open_call(gateway, stream=True, user=who)
    if after == "midway":
        read_until(sock, b'"a"')
    else:
        wait_until(lambda: upstream.seen, what="the call is upstream")
    sock.close()

    assert noticed.wait(1.5)
    record = wait_until(lambda: next((r for r in gateway.newest() if r["end_user"] == who), None), what="its record")
    assert record["outcome"] == "client_gone"


def test_a_caller_that_closes_right_after_the_end_is_a_success_with_its_tokens(
    gateway: Product, upstream: Upstream
) -> None:
    def without_end(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + chunk(delta("a")) + chunk(FINISH) + chunk(USAGE) + chunk(DONE))
        talk.wait_closed(3)

    upstream.answer(without_end)
    sock = open_call(gateway, stream=True, stream_options={"include_usage": True})
    seen = read_until(sock, b"[DONE]")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()

    record = record_of(gateway, request_id_of(seen))
    assert (record["outcome"], record["usage"]["total_tokens"]) == ("success", 8)


def test_half_open_connections_stop_nobody(gateway: Product) -> None:
    slow = [socket.create_connection(("127.0.0.1", gateway.port), timeout=9) for _ in range(60)]
    for sock in slow:
        sock.sendall(b"P")

    assert requests.get(gateway.url + "/health/live", timeout=2).status_code == 200

    for sock in slow:
        sock.close()


def test_a_stop_ends_streams_with_an_error_event_and_records_them(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def goes_on(talk: Conversation) -> None:
        talk.send(STREAM_HEAD + chunk(delta("a")))
        talk.wait_closed()

    upstream.answer(goes_on)
    settings = config(upstream.url, server={"workers": 1, "drain_timeout": 1})
    with product(tmp_path_factory.mktemp("stop"), settings) as it, open_call(it, stream=True) as sock:
        seen = read_until(sock, b'"a"')
        idle = requests.Session()
        idle.get(it.url + "/health/live", timeout=5)
        assert it.process
        it.process.signal(signal.SIGTERM)

        read_until(sock, b"shutting_down")
        code = it.process.popen.wait(20)
        journal = it.folder / "data" / "journal"
        # Its tokens may still have been counted when `up` had no more time for it; then all but those is recorded.
        kept = [
            each.record for each in [*entries(journal), *entries(journal / ACKED)] if isinstance(each, Ended | Closed)
        ]

        idle.close()
        assert code == 0
        assert {each.outcome for each in kept if each.request_id == request_id_of(seen)} == {"aborted"}
