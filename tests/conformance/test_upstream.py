"""The scripted upstream plays what it is told, and its ledger says what happened."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from llm_one_api.conformance.scripts import HOLD, Script, event, stream, whole
from llm_one_api.conformance.upstream import Upstream

TOKEN = "case-some-case-0123456789abcdef"
ASK = f"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: {len(TOKEN)}\r\n\r\n{TOKEN}".encode()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    it = Upstream(socket.create_server(("127.0.0.1", 0)))
    yield it
    it.close()


def connect(upstream: Upstream) -> socket.socket:
    host, _, port = upstream.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def test_the_name_of_the_exchange_stands_wherever_the_script_wants_it(upstream: Upstream) -> None:
    account = upstream.open(TOKEN, (whole({"id": "resp_$CASE"}),))

    with connect(upstream) as sock:
        sock.sendall(ASK)
        answer = read_until(sock, b"}")

    assert f'{{"id":"resp_{TOKEN}"}}'.encode() in answer
    assert f"x-request-id: up-{TOKEN}".encode() in answer
    assert account.wait(lambda it: it.exchanges[0].ended == "clean")
    assert (account.exchanges[0].method, account.exchanges[0].path) == ("POST", "/v1/x")
    assert account.exchanges[0].body == TOKEN.encode()


def test_each_request_plays_the_next_script_and_the_last_one_again(upstream: Upstream) -> None:
    account = upstream.open(TOKEN, (whole({}, status=500), whole({}, status=200)))

    with connect(upstream) as sock:
        for _ in range(3):
            sock.sendall(ASK)
            read_until(sock, b"{}")

    assert [each.status for each in account.exchanges] == [500, 200, 200]
    assert [each.nth for each in account.exchanges] == [1, 2, 3]


def test_a_chunked_request_is_read_and_noted_as_it_comes(upstream: Upstream) -> None:
    account = upstream.open(TOKEN, (whole({}),))

    with connect(upstream) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n" + TOKEN.encode() + b"\r\n")
        begun = account.wait(lambda it: bool(it.exchanges and it.exchanges[0].body))
        ended_before = account.exchanges[0].complete
        sock.sendall(b"3\r\nabc\r\n0\r\n\r\n")
        read_until(sock, b"{}")

    assert (begun, ended_before) == (True, False)
    assert account.exchanges[0].body == TOKEN.encode() + b"abc"


def test_a_held_script_goes_on_when_the_case_says_so(upstream: Upstream) -> None:
    account = upstream.open(TOKEN, (stream(event(b"one"), HOLD, event(b"two")),))

    with connect(upstream) as sock:
        sock.sendall(ASK)
        first = read_until(sock, b"one\n\n")
        account.released.set()
        second = read_until(sock, b"0\r\n\r\n")

    assert b"two" not in first
    assert b"two" in second


def test_a_gateway_that_hangs_up_is_in_the_ledger(upstream: Upstream) -> None:
    account = upstream.open(TOKEN, (stream(event(b"one"), end="wait"),))

    with connect(upstream) as sock:
        sock.sendall(ASK)
        read_until(sock, b"one\n\n")

    assert account.wait(lambda it: it.exchanges[0].ended == "hung up")


def test_a_message_can_be_broken_off(upstream: Upstream) -> None:
    upstream.open(TOKEN, (Script(steps=(b"half",), framing="chunked", end="reset"),))

    with connect(upstream) as sock:
        sock.sendall(ASK)
        with pytest.raises(ConnectionResetError):
            read_until(sock, b"never comes")


def test_a_request_of_nobodys_is_a_stray(upstream: Upstream) -> None:
    with connect(upstream) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_until(sock, b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 404")
    assert upstream.strays == 1
