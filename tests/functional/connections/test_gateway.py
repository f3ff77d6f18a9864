"""The gateway's own processes make their connections as the settings say, whatever the environment says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.harness.certificates import Authority
from tests.harness.gateway import Gateway, gateway
from tests.harness.http_proxy import HttpProxy, http_proxy
from tests.harness.processes import free_port, wait_until
from tests.harness.product import config
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted

SECRET = "s3cret-of-the-proxy"


@pytest.fixture(scope="module")
def proxy() -> Iterator[HttpProxy]:
    with http_proxy(f"me:{SECRET}") as one:
        yield one


@pytest.fixture(scope="module")
def trap() -> Iterator[socket.socket]:
    """Where the environment would send calls."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="module")
def closed(authority: Authority) -> Iterator[Upstream]:
    """An upstream that talks to those only whom the authority has signed for."""
    with scripted(authority.server("localhost", wants_client=True), "localhost") as one:
        yield one


@pytest.fixture(scope="module")
def probed() -> Iterator[Upstream]:
    with scripted() as one:
        one.answer(json_answer(200, b'{"object":"list","data":[]}'))
        yield one


@pytest.fixture(scope="module")
def it(
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    plain: Upstream,
    secure: Upstream,
    closed: Upstream,
    probed: Upstream,
    proxy: HttpProxy,
    trap: socket.socket,
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    certificate, key = authority.client("gateway")
    ca = str(authority.file)
    made = config(plain.url)
    here = {"api_key": "sk-upstream-secret-0009"}
    made["upstreams"] = {"proxy": "${OUR_PROXY:-}"}
    made["models"] = {
        "plain": {**here, "api_base": plain.url},
        "secure": {**here, "api_base": secure.url, "ca_file": ca},
        "closed": {
            **here, "api_base": closed.url, "ca_file": ca,
            "client_certificate": str(certificate), "client_key": str(key),
        },
        "straight": {**here, "api_base": plain.url, "proxy": "none"},
        "untrusted": {**here, "api_base": secure.url},
        "unverified": {**here, "api_base": secure.url, "tls_verify": False},
        "no_proxy": {**here, "api_base": plain.url, "proxy": f"http://me:{SECRET}@127.0.0.1:{free_port()}"},
        "unknown_to_proxy": {**here, "api_base": secure.url, "proxy": proxy.url, "ca_file": ca},
        "probed": {
            **here, "api_base": probed.url, "proxy": "none", "health_check_interval": 1,
        },
    }  # fmt: skip
    netrc = folder / "netrc"
    netrc.write_text("default login thief password stolen\n")
    there = f"http://127.0.0.1:{trap.getsockname()[1]}"
    environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), there)
    environment |= {
        "OUR_PROXY": f"http://me:{SECRET}@127.0.0.1:{proxy.port}",
        "NO_PROXY": "*",
        "NETRC": str(netrc),
        "SSL_CERT_FILE": ca,
        "REQUESTS_CA_BUNDLE": ca,
    }
    with gateway(folder, made, environment) as running:
        yield running


@pytest.mark.parametrize("model", ["plain", "secure", "closed", "unverified"])
def test_calls_go_through_the_proxy_of_the_settings(
    it: Gateway, proxy: HttpProxy, plain: Upstream, secure: Upstream, closed: Upstream, model: str
) -> None:
    port = {"plain": plain, "closed": closed}.get(model, secure).port

    answer = it.post(model=model)

    assert answer.content == CHAT
    assert [head for head in proxy.heads if b":%d" % port in head]  # of this call, or of one whose way is kept


def test_a_model_can_be_reached_straight(it: Gateway, proxy: HttpProxy, plain: Upstream) -> None:
    before = len(proxy.heads)
    plain.answer(*plain.scripts)

    answer = it.post(model="straight")

    assert answer.content == CHAT
    assert len(proxy.heads) == before
    assert b"Authorization: Bearer sk-upstream-secret-0009" in plain.seen[0].head.split(b"\r\n")


@pytest.mark.parametrize(
    ("model", "code"),
    [("untrusted", "upstream_tls"), ("no_proxy", "upstream_proxy"), ("unknown_to_proxy", "upstream_proxy")],
)
def test_why_there_is_no_connection_is_told_and_on_the_record(it: Gateway, model: str, code: str) -> None:
    answer = it.post(model=model, user=f"caller-of-{model}")
    record = it.record_of(f"caller-of-{model}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, code)
    assert (record.outcome, [attempt.error for attempt in record.attempts]) == ("upstream_error", [code])


def test_upstreams_are_probed(it: Gateway, probed: Upstream) -> None:
    wait_until(lambda: len(probed.seen) > 1)

    assert {talk.head.split(b"\r\n")[0] for talk in probed.seen} == {b"GET /v1/models HTTP/1.1"}
    assert "probed" not in {entry.model for entry in it.opened()}  # it is nobody's call


def test_an_upstream_s_certificate_that_is_not_believed_is_explained_in_the_log(it: Gateway) -> None:
    it.post(model="untrusted")

    line = next(line for line in it.output.splitlines() if "upstream.no_connection" in line and "upstream_tls" in line)
    assert "unable to get local issuer certificate" in line
    assert "localhost:" in line


def test_the_environment_is_asked_for_nothing_and_no_secret_is_said(it: Gateway, trap: socket.socket) -> None:
    for model in ("plain", "secure", "straight", "no_proxy"):
        it.post(model=model)

    with pytest.raises(BlockingIOError):
        trap.accept()
    assert SECRET not in it.output
    assert "sk-upstream-secret-0009" not in it.output
