"""Heads made to break things, of requests and of answers, in an environment that would send calls elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, id_of, settings
from tests.harness.processes import ROOT
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.upstream import (
    CHAT,
    Upstream,
    json_answer,
    scripted,
)

BODY = b'{"model":"m"}'
WITHOUT_A_KEY = {"/health/live", "/health/ready"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Upstream]:
    """Where no call may ever arrive."""
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Upstream, elsewhere: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that trusts its callers' addresses, and whose environment names a proxy, and other credentials."""
    folder = tmp_path_factory.mktemp("hostile")
    netrc = folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password pass\n")
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), elsewhere.url)
    env = {"NETRC": str(netrc), "HOME": str(folder), "SSL_CERT_FILE": "/nowhere", "NO_PROXY": "", **proxies}
    with gateway(folder, settings(upstream.url, trusted_proxies=["127.0.0.1/32"]), env) as it:
        yield it


@pytest.fixture
def it(running: Gateway, upstream: Upstream, elsewhere: Upstream) -> Iterator[Gateway]:
    """The gateway; after the test it runs in the same process, has logged no key and has called nobody else."""
    before = running.workers()
    upstream.answer(json_answer(200, CHAT))
    yield running
    assert running.workers() == before
    assert elsewhere.seen == []
    assert KEY not in running.output


def post(it: Gateway, *headers: bytes, line: bytes = b"POST /v1/chat/completions HTTP/1.1", **more: Any) -> bytes:
    return it.exchange(b"Content-Length: %d" % len(BODY), *headers, line=line, body=BODY, **more)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# -- who calls --


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b" ",
        b"x",
        KEY.encode()[:-1],
        KEY.encode() + b"x",
        KEY.encode() + b" x",
        b'"' + KEY.encode() + b'"',
        KEY.upper().encode(),
        hashlib.sha256(KEY.encode()).hexdigest().encode(),
        b"key_" + hashlib.sha256(KEY.encode()).hexdigest()[:8].encode(),
        b"%",
        b"' OR 1=1 --",
        "sk-é你".encode(),
        b"\xff\xfe",
        b"x" * 8000,
        b"Bearer " + KEY.encode(),
        KEY.encode() + b"\r\nAuthorization: Bearer x",
        b"x\r\nAuthorization: Bearer " + KEY.encode(),
    ],
)
def test_a_wrong_key_is_a_401_whatever_it_is_made_of(it: Gateway, upstream: Upstream, key: bytes) -> None:
    answer = post(it, key=key)

    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (status_of(answer), error["code"]) == (401, "invalid_api_key")
    assert set(error) == {"message", "type", "param", "code"}
    assert upstream.seen == []


@pytest.mark.parametrize("key", [b"sk-\0x", b"sk-\x01", b"x" * 1_000_000], ids=["NUL", "control", "long"])
def test_a_key_that_no_header_may_hold_is_refused(it: Gateway, upstream: Upstream, key: bytes) -> None:
    answer = post(it, key=key)

    assert not answer or status_of(answer) in {400, 431}  # nothing: reset while we were still sending
    assert upstream.seen == []


def test_every_route_but_those_of_health_asks_for_a_key(it: Gateway) -> None:
    dump = "import json, wsgi; print(json.dumps([str(rule) for rule in wsgi.application.url_map.iter_rules()]))"
    env = {**os.environ, "LLM_ONE_API_CONFIG": str(it.folder / "config.yaml"), "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", dump], cwd=it.folder, env=env, capture_output=True, check=True)
    paths = [re.sub(r"<[\w:]+>", "m", rule) for rule in json.loads(told.stdout)]
    assert {"/v1/chat/completions", "/v1/models/m", "/v1/stats"} < set(paths)

    with requests.Session() as session:
        for path in {*paths, "/", "/v1", "/static/x", "/admin"}:
            for key in (None, "sk-foreign"):
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                statuses = {m: session.request(m, it.url + path, headers=headers).status_code for m in METHODS}
                if path in WITHOUT_A_KEY:
                    assert statuses.pop("GET") == statuses.pop("HEAD") == 200
                assert set(statuses.values()) <= {401, 404, 405}, (path, statuses)
                assert path not in paths or path in WITHOUT_A_KEY or 401 in statuses.values(), (path, statuses)


# -- what callers may say --


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        (b"POST http://elsewhere.invalid/v1/chat/completions HTTP/1.1", []),
        (b"POST /v1/chat/completions?api_base=http://elsewhere.invalid&base_url=x HTTP/1.1", []),
        (b"POST //v1/chat/completions HTTP/1.1", []),
        (b"POST /v1/chat/completions HTTP/1.1", [b"X-Forwarded-Host: elsewhere.invalid", b"Forwarded: host=x"]),
        (b"POST /v1/chat/completions HTTP/1.1", [b"api_base: http://x", b"X-Api-Base: http://x", b"api-key: other"]),
        (b"POST /v1/chat/completions HTTP/1.1", [b"SCRIPT_NAME: /v1", b"PATH_INFO: /health/live"]),
        (b"POST /v1/chat/completions HTTP/1.1", [b"X-Forwarded-Proto: https", b"X-Forwarded-For: 1.2.3.4"]),
        (b"POST /v1/chat/completions HTTP/1.1", [b"Connection: authorization", b"TE: trailers", b"Upgrade: h2c"]),
        (b"POST /v1/chat/completions HTTP/1.1", [b"X_Api_Key: k", b"Proxy-Authorization: k", b"Cookie: k"]),
    ],
)
def test_nothing_that_a_caller_says_changes_where_its_call_goes_and_with_which_key(
    it: Gateway, upstream: Upstream, line: bytes, headers: list[bytes]
) -> None:
    post(it)
    usual = upstream.seen.pop().head

    answer = post(it, *headers, line=line)

    assert answer.partition(b"\r\n\r\n")[2] == CHAT
    assert upstream.seen[0].head == usual
    assert b"Authorization: Bearer sk-upstream-secret-0009\r\n" in usual


def test_fields_of_the_body_name_no_upstream(it: Gateway, upstream: Upstream) -> None:
    answer = it.post(api_base="http://elsewhere.invalid", base_url="http://x", api_key="k", extra_headers={"a": "b"})

    assert answer.status_code == 200
    assert b"elsewhere" not in upstream.seen[0].head


@pytest.mark.parametrize(
    "header",
    [
        b"X-A: b\0c",
        b"X-A: b\rc",
        b"X-A: b\r\n c",
        b"X A: b",
        b"X-A : b",
        b"User-Agent: \x01",
        b"no colon",
        b"Host: y",
    ],
)
def test_a_header_that_is_none_is_refused(it: Gateway, upstream: Upstream, header: bytes) -> None:
    assert status_of(post(it, header)) == 400
    assert upstream.seen == []


def test_ids_and_tags_that_callers_choose_are_cleaned(it: Gateway, upstream: Upstream) -> None:
    answer = post(it, b"X-Request-Id: \xffmine\xc2\x85", b"x-llm-one-api-tags: a\xff, =b, c, d, e, f")

    record = it.record(id_of(answer))
    assert record.client_request_id == "mine"
    assert record.tags == ("a", "=b", "c", "d", "e")


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=501",
        "limit=²",
        f"limit={'9' * 3000}",
        "since=%00",
        "since=0001-01-01",
        "since=9999-12-31T23:59:59-23:59",
        "since=2026-13-01",
    ],
)
def test_a_query_that_means_nothing_is_a_400(it: Gateway, query: str) -> None:
    answer = requests.get(f"{it.url}/v1/stats?{query}", headers={"Authorization": f"Bearer {OTHER_KEY}"}, timeout=5)

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "/v1/x/../chat/completions",
        "/v1/chat/completions/",
        "/v1/%ff%00",
        "/v1/models/%0d%0ax:%20y",
        "/v1/models/" + "x" * 3000,
    ],
)
def test_a_path_that_leads_nowhere_is_a_404(it: Gateway, upstream: Upstream, path: str) -> None:
    for method in (b"POST", b"GET"):
        answer = it.exchange(b"Content-Length: 0", line=b"%b %b HTTP/1.1" % (method, path.encode()))

        assert status_of(answer) in {404, 405}
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert upstream.seen == []
