"""Requests without a valid key, over HTTP: an address may send so many a minute, on all paths together."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, read_all, settings
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.upstream import Upstream, scripted

PER_MINUTE = 3
PATHS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/m"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/stats/memory"),
    ("GET", "/v1/stats/calls/0"),
    ("GET", "/v1/stats/pipeline"),
    ("GET", "/v1/usage"),
]
_addresses = (f"198.51.100.{n}" for n in itertools.count(1))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(upstream.url, trusted_proxies=["127.0.0.0/8"])
    made["rate_limit"] = {"failed_auth_per_minute": PER_MINUTE}
    with gateway(tmp_path_factory.mktemp("keys"), made) as it:
        yield it


class Stranger:
    """Whoever calls from an address of its own."""

    def __init__(self, running: Gateway) -> None:
        self._url = running.url
        self.address = next(_addresses)

    def ask(self, method: str, path: str, key: str | None = "sk-wrong", **more: Any) -> requests.Response:
        headers = {"X-Forwarded-For": f"203.0.113.1, {self.address}"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return requests.request(method, self._url + path, headers=headers, timeout=20, **more)

    def spend(self) -> None:
        """Send wrong keys until no more are heard."""
        assert [self.ask("GET", "/v1/models").status_code for _ in range(PER_MINUTE)] == [401] * PER_MINUTE


@pytest.fixture
def stranger(running: Gateway) -> Stranger:
    return Stranger(running)


@pytest.mark.parametrize("key", ["sk-wrong", None])
def test_no_path_with_a_key_hears_an_address_that_has_sent_too_many(stranger: Stranger, key: str | None) -> None:
    stranger.spend()

    answers = [stranger.ask(*path, key=key) for path in PATHS]

    assert {answer.status_code for answer in answers} == {429}
    assert all(1 <= int(answer.headers["retry-after"]) <= 20 for answer in answers)
    assert all("x-request-id" in answer.headers for answer in answers)
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert answers[1].json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("path", PATHS, ids=[path for _, path in PATHS])
def test_wrong_keys_count_on_each_path(stranger: Stranger, path: tuple[str, str]) -> None:
    assert [stranger.ask(*path).status_code for _ in range(PER_MINUTE + 1)] == [401] * PER_MINUTE + [429]


def test_its_body_is_not_read(running: Gateway, stranger: Stranger) -> None:
    stranger.spend()
    began = time.monotonic()

    with socket.create_connection(("127.0.0.1", running.port), timeout=15) as sock:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {stranger.address}\r\n"
        sock.sendall(f"{head}Connection: close\r\nContent-Length: 1000000\r\n\r\n".encode())
        first = sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)

    assert first.startswith(b"HTTP/1.1 429 ")
    assert time.monotonic() - began < 10


def test_callers_with_good_keys_are_served_from_there_and_strangers_from_elsewhere(running: Gateway) -> None:
    one, other = Stranger(running), Stranger(running)
    assert one.ask("GET", "/v1/models", KEY).status_code == 200
    one.spend()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    answers = [one.ask("POST", "/v1/chat/completions", KEY, json=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert other.ask("GET", "/v1/models").status_code == 401
    assert other.ask("GET", "/v1/models", OTHER_KEY).status_code == 200


def test_health_answers_whoever_asks_and_tells_strangers_no_more(running: Gateway, stranger: Stranger) -> None:
    Stranger(running).ask("GET", "/v1/models", KEY)  # so it is known here
    stranger.spend()

    without, wrong = (stranger.ask("GET", "/health/ready", key) for key in (None, "sk-wrong"))

    assert {(one.status_code, *one.json()) for one in (without, wrong)} == {(200, "status")}
    assert "missing" in stranger.ask("GET", "/health/ready", KEY).json()


def test_asking_for_health_without_a_key_is_no_wrong_key(stranger: Stranger) -> None:
    for _ in range(5 * PER_MINUTE):
        assert stranger.ask("GET", "/health/ready", None).status_code == 200

    assert stranger.ask("GET", "/v1/models").status_code == 401


def test_it_is_in_the_log_and_in_no_record(running: Gateway, stranger: Stranger) -> None:
    stranger.spend()

    assert stranger.ask("POST", "/v1/chat/completions").status_code == 429

    assert "auth.flood" in running.output
    assert "sk-wrong" not in running.output
    assert not [record for record in running.records() if record.status in {401, 429}]
