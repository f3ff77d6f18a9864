"""TLS to upstreams, over real sockets: whom we believe, who we are, and that the environment has no say in it."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from structlog.testing import capture_logs

from llm_one_api.errors import GatewayError
from llm_one_api.gateway.pool import Origin, Pool, Pools
from llm_one_api.gateway.upstreams.faults import unanswered
from llm_one_api.gateway.watch import Cut
from llm_one_api.targets import DIRECT, Link
from llm_one_api.targets import Upstream as Target
from tests.functional.connections.conftest import MakePool, ask
from tests.harness.certificates import Authority
from tests.harness.upstream import Upstream, scripted


@pytest.fixture
def upstream(secure: Upstream) -> Upstream:
    return secure


def call(url: str, link: Link) -> bytes:
    connection = Pool(Origin.of(url), link).connect(5)
    try:
        return ask(connection)
    finally:
        connection.close()


def refusal(url: str, link: Link, *, reading: bool = False) -> str:
    """Give the code that a call fails with, whenever that is found out, and the reason that is logged.

    *reading*: nothing is sent, so that nothing can cross what the upstream says.
    """
    pool = Pool(Origin.of(url), link)
    with capture_logs() as logs, pytest.raises(Exception) as failed:
        ask(pool.connect(5), send=not reading)
    error = failed.value if isinstance(failed.value, GatewayError) else unanswered(failed.value)
    return f"{error.code}: {logs[0]['reason']}" if logs else error.code


def test_an_upstream_is_believed_whose_authority_is_given(upstream: Upstream, authority: Authority) -> None:
    assert call(upstream.url, Link(ca_file=str(authority.file))).startswith(b'{"id"')


def test_one_that_nobody_vouches_for_is_sent_nothing(upstream: Upstream, stranger: Authority) -> None:
    upstream.answer(*upstream.scripts)

    assert refusal(upstream.url, DIRECT).startswith("upstream_tls: unable to get local issuer certificate")
    assert refusal(upstream.url, Link(ca_file=str(stranger.file))).startswith("upstream_tls: ")
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("names", "expired", "reason"),
    [(("other.test",), False, "Hostname mismatch"), (("localhost",), True, "certificate has expired")],
    ids=["another name", "expired"],
)
def test_a_certificate_of_another_name_or_time_is_not_believed(
    authority: Authority, names: tuple[str, ...], expired: bool, reason: str
) -> None:
    with scripted(authority.server(*names, expired=expired), "localhost") as upstream:
        told = refusal(upstream.url, Link(ca_file=str(authority.file)))

        assert told.startswith(f"upstream_tls: {reason}")
        assert upstream.seen == []
        assert call(upstream.url, Link(verify=False)).startswith(b'{"id"')


def test_that_nothing_is_verified_is_said_aloud(upstream: Upstream) -> None:
    pools = Pools()

    with capture_logs() as logs:
        for _ in range(2):
            pools.of(Target(name="one", base_url=upstream.url, link=Link(verify=False)))

    assert [(line["log_level"], line["event"]) for line in logs] == [("warning", "tls.unverified")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_client_certificate_is_shown_to_an_upstream_that_asks_for_it(
    authority: Authority, stranger: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server("localhost", wants_client=True)
    context.maximum_version = version
    certificate, key = authority.client("gateway")
    both = authority.folder / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    strange, strange_key = stranger.client("gateway")
    ca = str(authority.file)
    with scripted(context, "localhost") as upstream:
        known = Link(ca_file=ca, client_certificate=str(certificate), client_key=str(key))

        assert call(upstream.url, known).startswith(b'{"id"')
        assert call(upstream.url, Link(ca_file=ca, client_certificate=str(both))).startswith(b'{"id"')
        answered = len(upstream.seen)
        for unknown in (
            Link(ca_file=ca),
            Link(ca_file=ca, client_certificate=str(strange), client_key=str(strange_key)),
        ):
            assert refusal(upstream.url, unknown, reading=True).startswith("upstream_tls")
            # In TLS 1.3 the upstream's word of it may be lost, as it closes on what we have sent by then.
            assert refusal(upstream.url, unknown).split(":")[0] in {"upstream_tls", "upstream_closed"}
        assert len(upstream.seen) == answered


def test_a_key_with_a_password_is_a_fault_and_nobody_is_asked_for_it(authority: Authority, upstream: Upstream) -> None:
    certificate, key = authority.client("locked", password=b"secret-word")
    link = Link(ca_file=str(authority.file), client_certificate=str(certificate), client_key=str(key))

    told = refusal(upstream.url, link)

    assert told.startswith(f"upstream_tls: client_certificate {certificate} with client_key {key}")
    assert "secret-word" not in told


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_s_file_that_is_none_is_named(tmp_path: Path, upstream: Upstream, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    assert refusal(upstream.url, Link(ca_file=str(file))).startswith(f"upstream_tls: ca_file {file}: ")


def test_files_that_change_are_read_again_and_a_bad_one_changes_nothing(
    make_pool: MakePool, tmp_path: Path, upstream: Upstream, authority: Authority, stranger: Authority
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(stranger.file.read_bytes())
    pool = make_pool(upstream.url, Link(ca_file=str(file)))
    with pytest.raises(GatewayError):
        pool.connect(5)

    with capture_logs() as logs:
        file.write_bytes(authority.file.read_bytes() + b"\n")
        pool.connect(5).close()
        file.write_bytes(b"half a certificate")
        pool.connect(5).close()
        pool.connect(5).close()
        file.unlink()
        pool.connect(5).close()

    unusable = [line for line in logs if line["event"] == "tls.files_unusable"]
    assert [str(file) in line["reason"] for line in unusable] == [True, True]  # once for each change


def test_the_environment_neither_vouches_nor_listens(
    tmp_path: Path, upstream: Upstream, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, keys = tmp_path / "certs", tmp_path / "keys.log"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.file.read_bytes())
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authority.file))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    usual = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", upstream.port)) as sock,
        usual.wrap_socket(sock, server_hostname="localhost"),
    ):
        pass  # so it would be trusted, if the environment were asked
    assert keys.stat().st_size > 0
    keys.write_bytes(b"")

    assert refusal(upstream.url, DIRECT).startswith("upstream_tls: unable to get local issuer certificate")
    assert call(upstream.url, Link(ca_file=str(authority.file))).startswith(b'{"id"')
    assert keys.stat().st_size == 0
    assert os.environ["SSL_CERT_FILE"] == str(authority.file)


def test_a_tls_connection_is_kept_and_used_again(make_pool: MakePool, upstream: Upstream, authority: Authority) -> None:
    pool = make_pool(upstream.url, Link(ca_file=str(authority.file)))
    before = upstream.connections
    for _ in range(3):
        connection = pool.take_idle() or pool.connect(5)
        ask(connection)
        pool.give_back(connection)

    assert upstream.connections == before + 1
    assert pool.idle == 1


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_an_upstream_that_hangs_in_the_handshake_costs_no_more_than_the_time_to_connect() -> None:
    with listening() as silent:
        began = time.monotonic()
        told = ""
        with capture_logs() as logs, pytest.raises(GatewayError) as failed:
            Pool(Origin.of(f"https://127.0.0.1:{silent.getsockname()[1]}"), Link(verify=False)).connect(0.5)
        told = logs[0]["reason"]

    assert failed.value.code == "upstream_timeout_connect"
    assert told == "the TLS handshake took too long"
    assert time.monotonic() - began < 5


def test_a_call_that_is_ended_in_the_handshake_leaves_no_connection() -> None:
    with listening() as silent:
        silent.settimeout(10)
        pool = Pool(Origin.of(f"https://127.0.0.1:{silent.getsockname()[1]}"), Link(verify=False))
        calling = gevent.spawn(pool.connect, 30)
        with gevent.Timeout(10):
            while not select.select([silent], [], [], 0)[0]:
                gevent.sleep(0.01)
        accepted, _ = silent.accept()
        with accepted:
            gevent.sleep(0.05)  # it may wait for the handshake by now; if not, the better
            calling.kill(Cut("client_gone"))
            accepted.settimeout(10)
            while accepted.recv(65536):
                pass

    assert isinstance(calling.exception, Cut)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "upstream_tls: WRONG_VERSION_NUMBER"),
        (b"", "upstream_unreachable: the TLS handshake: "),
    ],
    ids=["HTTP", "nothing"],
)
def test_an_upstream_that_speaks_no_tls_is_told_from_one_that_hangs_up(answer: bytes, told: str) -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(5)
            sock.sendall(answer)

    with listening() as listener:
        thread = threading.Thread(target=serve)
        thread.start()

        assert refusal(f"https://localhost:{listener.getsockname()[1]}", DIRECT).startswith(told)
        thread.join()
