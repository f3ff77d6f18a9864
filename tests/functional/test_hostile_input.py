"""Bodies made to break things: no 500, nothing goes upstream that was not understood, the process lives on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.product import KEY
from tests.harness.upstream import (
    CHAT,
    Upstream,
    chunk,
    json_answer,
    scripted,
)

MOST = 2_000_000
BODY = b'{"model":"m"}'


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(upstream.url, {"upstream_model": "m"}, max_body_bytes=MOST, body_timeout=2)
    with gateway(tmp_path_factory.mktemp("hostile"), made) as it:
        yield it


@pytest.fixture
def it(running: Gateway, upstream: Upstream) -> Iterator[Gateway]:
    """The gateway, which after the test still runs in the same process."""
    before = running.workers()
    upstream.answer(json_answer(200, CHAT))
    yield running
    assert running.workers() == before


def post(it: Gateway, body: bytes) -> requests.Response:
    url = it.url + "/v1/chat/completions"
    return requests.post(url, data=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=10)


TE = b"Transfer-Encoding: chunked"


def length(count: int) -> bytes:
    return b"Content-Length: %d" % count


# -- bodies --


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xef\xbb\xbf" + BODY, "invalid_json"),
        (BODY.decode().encode("utf-16"), "invalid_json"),
        (b'{"model":"m","user":"\\ud800"}', "invalid_json"),
        (b'{"model":"\\udfff"}', "invalid_json"),
        (b'{"model":"m","\\ud800":1}', "invalid_json"),
        (b'{"model":"m","user":"\xff"}', "invalid_json"),
        (b'{"model":"m","messages":[{"content":"\xc3"}]}', "invalid_json"),
        (b'{"model":"m","\xff":1}', "invalid_json"),
        (b'{"model":"m","model":"m","stream":true,"stream_options":{"x":"\xff"}}', "invalid_json"),
        (b'{"model":"m","x":-Infinity}', "invalid_json"),
        (b'{"model":"m","x":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_001, "invalid_json"),
        (b'{"model":"m","x":"a\nb"}', "invalid_json"),
        (BODY + b"garbage", "invalid_json"),
        (BODY + BODY, "invalid_json"),
        (b"{'model':'m'}", "invalid_json"),
        (b"", "invalid_json"),
        (b"null", "invalid_body"),
        (b'[{"model":"m"}]', "invalid_body"),
        (b'{"model":["m"]}', "invalid_type"),
        (b'{"model":null}', "invalid_type"),
        (b'{"model":true}', "invalid_type"),
        (b'{"model":"m","stream":"true"}', "invalid_type"),
        (b'{"model":""}', "missing_model"),
        (b'{"k":[{"model":"m"}]}', "missing_model"),
        (b'{"model":"\\u0000\\r\\nx: y"}', "model_not_found"),
    ],
)
def test_a_hostile_body_is_refused_in_openais_shape_and_goes_nowhere(
    it: Gateway, upstream: Upstream, body: bytes, code: str
) -> None:
    answer = post(it, body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404 if code == "model_not_found" else 400, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert upstream.seen == []
    assert it.record(answer.headers["x-request-id"]).outcome == "rejected"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","k":' + b"9" * 5000 + b"}",
        b'{"model":"m","k":1e400,"m":-0.0,"o":1E-9999}',
        b'{"model":"m","x":' + b'{"a":[' * 400 + b"1" + b"]}" * 400 + b"}",
        b"{" + b"".join(b'"k%d":%d,' % (n, n) for n in range(100_000)) + b'"model":"m"}',
        b'{"messages":[{"content":"\\u0000\\u202e\\"model\\":\\"x\\" \xf0\x9f\x98\x80"}],"model":"m","user":"\\u001b"}',
    ],
    ids=["a long integer", "extreme numbers", "nesting", "many members", "text"],
)
def test_what_only_the_upstream_can_judge_passes_to_the_byte(it: Gateway, upstream: Upstream, body: bytes) -> None:
    answer = post(it, body)

    assert answer.status_code == 200
    assert upstream.seen[0].body == body


@pytest.mark.parametrize("number", ["NaN", "1e309", '"5"', "true", "5.5", "-1", "0"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
    ],
)
def test_how_much_is_wanted_is_a_whole_number(
    it: Gateway, upstream: Upstream, path: str, name: str, number: str
) -> None:
    body = b'{"model":"m","messages":[],"%b": %b}' % (name.encode(), number.encode())

    answer = requests.post(it.url + path, data=body, headers={"x-api-key": KEY}, timeout=10)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].startswith(
        f"Invalid value for `{name}`: it must be a whole number between 1 and 2147483648"
    )
    if path == "/v1/messages":
        assert error["type"] == "invalid_request_error"
    else:
        assert (error["param"], error["code"]) == (name, "invalid_value")
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b'{"metadata":{"model":"x","stream":true},"model":"m"}', None),
        (b'{"model":"m","tools":[{"model":"x"}],"stream":false}', None),
        (b'{"model":"x","model":"m"}', BODY),
        (b'{"model":"x","mod\\u0065l":"m"}', BODY),
        (b'{"model":"m","stream":true,"stream":false}', b'{"model":"m","stream":false}'),
    ],
)
def test_the_upstream_reads_the_model_that_we_read(
    it: Gateway, upstream: Upstream, body: bytes, given: bytes | None
) -> None:
    answer = post(it, body)

    assert answer.content == CHAT
    assert upstream.seen[0].body == (given or body)
    record = it.record(answer.headers["x-request-id"])
    assert (record.model, record.stream) == ("m", False)


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000], ids=["out of range", "long"])
def test_stream_options_that_we_cannot_read_are_kept(it: Gateway, upstream: Upstream, number: bytes) -> None:
    post(it, b'{"model":"m","stream":true,"stream_options":{"x":%b}}' % number)

    assert upstream.seen[0].body.endswith(b'"stream_options":{"x":%b,"include_usage":true}}' % number)


@pytest.mark.parametrize("body", [b'{"model":"m","model":"x"}', b'{"mod\\u0065l":"m","model":"x"}'])
def test_a_model_that_is_named_twice_is_the_last_one(it: Gateway, upstream: Upstream, body: bytes) -> None:
    assert post(it, body).json()["error"]["code"] == "model_not_found"
    assert upstream.seen == []


def padded(size: int) -> bytes:
    return b'{"model":"m","x":"' + b"x" * (size - 20) + b'"}'


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        ([TE], chunk(padded(MOST)) + b"0\r\n\r\n", 200),
        ([TE], b"".join(chunk(BODY[n : n + 1]) for n in range(len(BODY))) + b"0\r\nx-trailer: 1\r\n\r\n", 200),
        ([TE], chunk(padded(MOST + 1)) + b"0\r\n\r\n", 413),
        ([length(MOST + 1)], padded(MOST + 1), 413),
        ([length(10**22)], b"{", 413),
        ([TE], chunk(BODY), 400),
        ([TE], b"zz\r\n" + BODY, 400),
        ([TE], b"3\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
        ([length(500)], BODY, 400),
        ([length(5)], BODY, 400),
        ([length(13), length(14)], BODY, 400),
        ([length(13), TE], chunk(BODY) + b"0\r\n\r\n", 400),
        ([b"Content-Length: -13"], BODY, 400),
        ([b"Content-Length: " + b"9" * 5000], BODY, 400),
        ([b"Transfer-Encoding: xchunked"], BODY, 501),
        ([], b"", 400),
    ],
)
def test_a_body_is_taken_whole_and_within_bounds_or_not_at_all(
    it: Gateway, upstream: Upstream, lines: list[bytes], body: bytes, status: int
) -> None:
    answer = it.exchange(*lines, body=body, end=status != 200 and len(body) < 100)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(upstream.seen) == (status == 200)
