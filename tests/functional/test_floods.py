"""Callers and upstreams that send without an end: nobody else waits for them. Real sockets on both sides."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, id_of, read_all, request, settings
from tests.harness.product import KEY
from tests.harness.upstream import STREAM_HEAD, Conversation, Upstream, chunk, delta, scripted

MB = b"x" * (1 << 20)
CLOSE = b"Connection: close\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def strict(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(upstream.url, {"first_byte_timeout": 2}, body_timeout=2, client_stall_timeout=5)
    with gateway(tmp_path_factory.mktemp("floods"), made) as it:
        yield it


def pour(port: int, head: bytes, data: bytes) -> None:
    """Send *data* again and again until nobody takes it any more."""
    with socket.create_connection(("127.0.0.1", port)) as sock, suppress(OSError):
        sock.sendall(head)
        while True:
            sock.sendall(data)


@contextmanager
def flood(gateway: Gateway, head: bytes, data: bytes) -> Iterator[None]:
    """Pour in processes of their own, so that only the gateway can be the one that is slow."""
    floods = [multiprocessing.Process(target=pour, args=(gateway.port, head, data), daemon=True) for _ in range(2)]
    for one in floods:
        one.start()
    try:
        yield
    finally:
        for one in floods:
            one.kill()
            one.join()


def assert_others_are_served(gateway: Gateway, seconds: float = 1.5) -> None:
    """Ask for so long as the floods are at their height; a hub that is held answers nobody for minutes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert requests.get(f"{gateway.url}/health/live", timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("head", "data"),
    [
        (HEAD % b"sk-wrong" + b"Content-Length: 100000000000\r\n\r\n", MB),
        (HEAD % b"sk-wrong" + b"Transfer-Encoding: chunked\r\n\r\n", chunk(MB)),
        (HEAD % KEY.encode() + b"Transfer-Encoding: chunked\r\n\r\n", chunk(b"x") * 10_000),
        (HEAD % KEY.encode() + b"Content-Length: 30000000\r\n\r\n", MB),
    ],
    ids=["no key", "no key, chunked", "chunks of a byte", "a large body"],
)
def test_a_body_without_end_holds_nobody_up(strict: Gateway, head: bytes, data: bytes) -> None:
    with flood(strict, head, data):
        assert_others_are_served(strict)


def test_who_sends_a_large_body_with_a_wrong_key_sees_the_refusal(strict: Gateway) -> None:
    answer = requests.post(
        f"{strict.url}/v1/chat/completions", data=MB * 8, headers={"Authorization": "Bearer sk-wrong"}, timeout=10
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "front", [b"HTTP/1.1 200 OK\r\nX-Endless: ", STREAM_HEAD + chunk(delta("a")) + b"0\r\nX-Trailer: "]
)
def test_an_upstream_whose_header_never_ends_is_cut_off(strict: Gateway, upstream: Upstream, front: bytes) -> None:
    poured = []

    def endless(talk: Conversation) -> None:
        talk.send(front)
        with suppress(OSError):
            for _ in range(200):
                talk.send(MB)
                poured.append(1)

    upstream.answer(endless)

    with strict.connect() as sock:
        sock.sendall(request(b'{"model":"m","stream":true}', headers=CLOSE))
        read_all(sock)

    assert len(poured) < 50


def test_an_upstream_that_outruns_us_holds_nobody_up(strict: Gateway, upstream: Upstream) -> None:
    event = chunk(delta("x" * 500)) * 2000

    def outruns(talk: Conversation) -> None:
        talk.send(STREAM_HEAD)
        with suppress(OSError):
            while True:
                talk.send(event)

    upstream.answer(outruns)

    with strict.begin(stream=True) as sock:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            sock.recv(1 << 20)
            assert requests.get(f"{strict.url}/health/live", timeout=5).status_code == 200


def test_an_upstream_that_refuses_a_large_body_before_it_has_read_it_is_heard(
    strict: Gateway, upstream: Upstream
) -> None:
    refusal = b'{"error":{"message":"too large","code":"large"}}'
    head = b"HTTP/1.1 413 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"

    with socket.create_server(("127.0.0.1", 0)) as early:
        made = settings(f"http://127.0.0.1:{early.getsockname()[1]}/v1")
        with gateway(strict.folder / "early", made) as it, it.connect(timeout=20) as sock:
            body = b'{"model":"m","messages":["%b"]}' % (MB * 4)
            sender = multiprocessing.Process(target=sock.sendall, args=(request(body, headers=CLOSE),), daemon=True)
            sender.start()
            talk, _ = early.accept()
            with talk:
                talk.recv(1000)
                talk.sendall(head % len(refusal) + refusal)
            seen = read_all(sock)
            sender.kill()
            sender.join()
            record = it.record(id_of(seen))

    assert seen.endswith(refusal)
    assert (record.outcome, record.status, record.error) == ("client_error", 413, "large")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization Bearer sk-canary-1\r\n\r\n", 400),
        (b"sk-canary-1\r\n\r\n", 400),
        (b"GET /" + b"sk-canary-1" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: " + b"sk-canary-1" * 2000 + b"\r\n\r\n", 431),
        (b"POST /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: sk-canary-1\r\n\r\n", 501),
        (b"GET /v1/models HTTP/9.9\r\nHost: sk-canary-1\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_is_answered_in_openais_shape_and_its_text_is_nowhere(
    strict: Gateway, sent: bytes, status: int
) -> None:
    with strict.connect() as sock:
        sock.sendall(sent)
        seen = read_all(sock)

    head, _, body = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert id_of(head)
    assert b"x-llm-one-api-overhead-ms" in head
    assert b'"type":"invalid_request_error"' in body
    assert b"canary" not in seen
    assert "canary" not in strict.output


def test_slashes_too_many_are_another_path_and_not_sent_elsewhere(strict: Gateway) -> None:
    answer = requests.get(f"{strict.url}//v1//models", timeout=5, allow_redirects=False)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
