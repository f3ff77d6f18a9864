"""Proxies on the way to upstreams, over real sockets: those of the settings, and no others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llm_one_api.errors import GatewayError
from llm_one_api.gateway.http import BadAnswer
from llm_one_api.gateway.pool import Pool
from llm_one_api.gateway.upstreams.faults import ProxyFailed, unanswered
from llm_one_api.targets import DIRECT, Link
from tests.functional.connections.conftest import MakePool, ask
from tests.harness.certificates import Authority
from tests.harness.http_proxy import HttpProxy, http_proxy
from tests.harness.processes import free_port
from tests.harness.upstream import CHAT, Upstream, scripted

KEY = b"Authorization: Bearer sk-upstream"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: models\r\n" + KEY + b"\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with http_proxy() as one:
        yield one


@pytest.fixture(params=["http", "https"])
def upstream(request: pytest.FixtureRequest, plain: Upstream, secure: Upstream) -> Upstream:
    one = plain if request.param == "http" else secure
    one.answer(*one.scripts)
    return one


Through = Callable[[Upstream, str], Pool]


@pytest.fixture
def through(make_pool: MakePool, authority: Authority) -> Through:
    """Makes the pool of an upstream that is reached through a proxy."""
    return lambda upstream, url: make_pool(upstream.url, Link(proxy=url, ca_file=str(authority.file)))


def post(pool: Pool, timeout: float = 5) -> bytes:
    connection = pool.take_idle() or pool.connect(timeout)
    answer = ask(connection, POST, b"{}")
    pool.give_back(connection)
    return answer


def fault(pool: Pool, timeout: float = 5) -> tuple[str, str]:
    """Give the code that a call fails with, and the reason that is logged, if there was no connection."""
    with capture_logs() as logs, pytest.raises(Exception) as failed:
        post(pool, timeout)
    error = failed.value if isinstance(failed.value, GatewayError) else unanswered(failed.value)
    assert "secret" not in repr(logs) + error.message
    return error.code, logs[0]["reason"] if logs else ""


def test_calls_go_through_the_proxy_as_they_are(upstream: Upstream, through: Through, proxy: HttpProxy) -> None:
    pool = through(upstream, proxy.url)

    answers = [post(pool), post(pool)]

    assert answers == [CHAT, CHAT]
    assert [talk.head for talk in upstream.seen] == [POST.replace(b"\r\n\r\n", b"")] * 2
    assert [talk.body for talk in upstream.seen] == [b"{}", b"{}"]
    assert proxy.connections == 1


def test_https_goes_through_a_tunnel_in_which_the_proxy_sees_nothing(
    secure: Upstream, through: Through, proxy: HttpProxy
) -> None:
    post(through(secure, proxy.url))

    place = b"localhost:%d" % secure.port
    assert proxy.heads == [b"CONNECT %b HTTP/1.1\r\nHost: %b" % (place, place)]


def test_http_is_asked_for_in_the_absolute_form(plain: Upstream, through: Through, proxy: HttpProxy) -> None:
    post(through(plain, proxy.url))

    assert proxy.heads[0].startswith(b"POST http://127.0.0.1:%d/v1/chat/completions HTTP/1.1\r\n" % plain.port)


def test_a_form_goes_through_in_the_absolute_form_too(plain: Upstream, through: Through, proxy: HttpProxy) -> None:
    plain.answer(*plain.scripts)
    connection = through(plain, proxy.url).connect(5)

    head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.send_pieces(head, [b"one ", b"two"], chunked=True)
    connection.read_head()

    assert plain.seen[0].body == b"one two"
    assert proxy.heads[0].startswith(b"POST http://127.0.0.1:")
    connection.close()


def test_a_proxy_that_wants_to_know_is_told_who_we_are(upstream: Upstream, through: Through) -> None:
    with http_proxy("me:p@ss:secret") as proxy:
        url = f"http://me:p%40ss%3Asecret@127.0.0.1:{proxy.port}"

        answer = post(through(upstream, url))

        assert answer == CHAT
        assert b"roxy" not in upstream.seen[0].head


@pytest.mark.parametrize("user", ["", "me:wrong-secret@"], ids=["nobody", "with a wrong password"])
def test_a_proxy_that_does_not_know_us_is_told_from_an_upstream_that_does_not(
    upstream: Upstream, through: Through, user: str
) -> None:
    with http_proxy("me:secret") as proxy:
        code, _ = fault(through(upstream, f"http://{user}127.0.0.1:{proxy.port}"))

        assert code == "upstream_proxy"
        assert upstream.seen == []


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "upstream_proxy", "the proxy answered 403"),
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", "upstream_unreachable", "the proxy answered 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "upstream_proxy", "the proxy does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "upstream_proxy", "the proxy hung up without an answer to CONNECT"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, "upstream_proxy", "the proxy's answer to CONNECT has no end"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "upstream_proxy", "the proxy sent more than an answer to CONNECT"),
    ],
    ids=["refuses", "cannot reach it", "garbage", "hangs up", "endless", "talks on"],
)
def test_what_is_wrong_with_a_tunnel_is_told(
    secure: Upstream, through: Through, proxy: HttpProxy, answer: bytes, code: str, reason: str
) -> None:
    proxy.answer = answer

    assert fault(through(secure, proxy.url)) == (code, reason)


def test_a_proxy_that_hangs_costs_no_more_than_the_time_to_connect(
    make_pool: MakePool, secure: Upstream, proxy: HttpProxy
) -> None:
    proxy.answer = b""

    code, reason = fault(make_pool(secure.url, Link(proxy=proxy.url, verify=False)), 0.7)

    assert code == "upstream_timeout_connect"
    assert reason == "waiting for the proxy's answer to CONNECT took too long"


def test_a_tunnel_that_ends_at_somebody_else_is_not_believed(
    make_pool: MakePool, authority: Authority, tmp_path: Path
) -> None:
    """The proxy is not trusted with what is said in the tunnel."""
    with scripted(Authority(tmp_path).server("localhost"), "localhost") as thief, http_proxy() as proxy:
        pool = make_pool(thief.url, Link(proxy=proxy.url, ca_file=str(authority.file)))

        assert fault(pool)[0] == "upstream_tls"
        assert thief.seen == []


def test_garbage_from_a_proxy_for_http_is_a_bad_answer(plain: Upstream, through: Through, proxy: HttpProxy) -> None:
    proxy.answer = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"

    with pytest.raises(BadAnswer):
        post(through(plain, proxy.url))


def test_a_407_of_a_proxy_for_http_is_no_answer_of_the_upstream(
    plain: Upstream, through: Through, proxy: HttpProxy
) -> None:
    proxy.answer = b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n"

    with pytest.raises(ProxyFailed):
        post(through(plain, proxy.url))


def test_a_proxy_that_is_not_there_is_told_from_an_upstream_that_is_not(upstream: Upstream, through: Through) -> None:
    code, reason = fault(through(upstream, f"http://me:secret@127.0.0.1:{free_port()}"))

    assert (code, reason) == ("upstream_proxy", "connecting: Connection refused")


def test_neither_proxies_nor_passwords_come_from_the_environment(
    through: Through, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login thief password stolen\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc.read_text())
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.getsockname()[1]}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{trap.getsockname()[1]}")

        answer = post(through(upstream, ""))

        with pytest.raises(BlockingIOError):
            trap.accept()
    assert answer == CHAT
    assert [line for line in upstream.seen[0].head.split(b"\r\n") if line.startswith(b"Auth")] == [KEY]


def test_no_proxy_of_the_environment_keeps_calls_from_the_one_of_the_settings(
    upstream: Upstream, through: Through, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")

    post(through(upstream, proxy.url))

    assert len(proxy.heads) == 1
    assert DIRECT.proxy == ""
