"""Forms (multipart) pass through: as they come, with the model renamed, and held in memory by nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import requests

from tests.harness.gateway import Gateway
from tests.harness.gateway import gateway as running
from tests.harness.processes import wait_until
from tests.harness.product import KEY, config
from tests.harness.upstream import Upstream, json_answer, scripted

BOUNDARY = "----form7f3a"
TEXT = b'{"text":"heard","usage":{"type":"duration","seconds":27}}'
PATH = "/v1/audio/transcriptions"


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def file(size: int) -> bytes:
    return part("file", b"\x00\r\n" * (size // 3), '; filename="a.mp3"\r\nContent-Type: audio/mpeg')


END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = config(upstream.url, server={"max_body_bytes": "64MiB", "body_timeout": 5})
    settings["models"]["whisper"] = {"api_base": upstream.url, "api_key": "sk-upstream-secret-0009"}
    with running(tmp_path_factory.mktemp("forms"), settings) as it:
        yield it


@pytest.fixture(autouse=True)
def _hears(upstream: Upstream) -> None:
    upstream.answer(json_answer(200, TEXT))


def post(gateway: Gateway, body: bytes | Iterator[bytes], path: str = PATH) -> requests.Response:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return requests.post(gateway.url + path, data=body, headers=headers, timeout=30)


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("order", ["model first", "file first"])
def test_a_form_reaches_the_upstream_as_it_was_sent(
    gateway: Gateway, upstream: Upstream, order: str, size: int
) -> None:
    parts = [part("model", b"whisper"), file(size)]
    form = b"".join(parts if order == "model first" else reversed(parts)) + END

    answer = post(gateway, form)

    assert answer.content == TEXT
    [seen] = upstream.seen
    assert seen.body == form
    assert b"authorization: bearer sk-upstream-secret-0009" in seen.head.lower()
    assert KEY.encode() not in seen.head
    record = gateway.record(answer.headers["x-request-id"])
    assert (record.model, record.endpoint, record.outcome) == ("whisper", "transcriptions", "success")
    assert (record.usage.audio_seconds, record.usage_source) == (27.0, "reported")
    assert record.usage_raw == json.loads(TEXT)["usage"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_an_alias_is_renamed_wherever_it_stands(gateway: Gateway, upstream: Upstream, size: int, chunked: bool) -> None:
    form = file(size) + part("model", b"m") + part("language", b"m") + END
    body = iter([form[:70_000], form[70_000:]]) if chunked else form

    answer = post(gateway, body)

    assert answer.status_code == 200
    [seen] = upstream.seen
    assert seen.body == file(size) + part("model", b"demo") + part("language", b"m") + END


def test_a_large_form_is_held_in_memory_by_nobody(gateway: Gateway, upstream: Upstream) -> None:
    [worker] = gateway.workers()
    post(gateway, part("model", b"m") + file(1_000_000) + END)
    before = worker.memory_info().rss
    most = [before]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            most.append(worker.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for form in (part("model", b"m") + file(48 << 20) + END, file(48 << 20) + part("model", b"m") + END):
            assert post(gateway, form).status_code == 200
    finally:
        over.set()
        looking.join()

    assert max(most) - before < 16 << 20


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (file(90) + END, "missing_model"),
        (part("model", b"m") + part("model", b"dear") + END, "invalid_form"),
        (part("model", b"unknown") + END, "model_not_found"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused_and_recorded(
    gateway: Gateway, upstream: Upstream, form: bytes, code: str
) -> None:
    answer = post(gateway, form)

    assert answer.json()["error"]["code"] == code
    assert upstream.seen == []
    assert gateway.record(answer.headers["x-request-id"]).outcome == "rejected"


def test_a_second_model_far_behind_never_completes_the_upstreams_request(gateway: Gateway, upstream: Upstream) -> None:
    form = part("model", b"m") + file(1_000_000) + part("model", b"dear") + END

    answer = post(gateway, form)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
    assert upstream.seen == []
    record = gateway.record(answer.headers["x-request-id"])
    assert (record.outcome, record.attempts[0].error) == ("rejected", "invalid_form")


def test_a_caller_that_leaves_midway_is_recorded_as_gone(gateway: Gateway, upstream: Upstream) -> None:
    form = part("model", b"m") + part("user", b"who-leaves") + file(1_000_000)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 5000000\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with gateway.connect() as sock:
        sock.sendall(head.encode() + form)
        wait_until(gateway.opened, what="the call is open")

    record = wait_until(
        lambda: next((r for r in gateway.records() if r.outcome == "client_gone"), None), what="the caller is gone"
    )
    assert (record.endpoint, record.usage_source) == ("transcriptions", "none")
    assert upstream.seen == []


def test_what_is_made_of_images_may_be_a_form_or_json(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer(json_answer(200, b'{"created":1,"data":[{"b64_json":"AA"},{"b64_json":"BB"}]}'))

    form = post(gateway, part("model", b"m") + part("image", b"PNG", '; filename="i"') + END, "/v1/images/edits")
    plain = gateway.post("/v1/images/edits", prompt="a cat", image="file-1")

    assert (form.status_code, plain.status_code) == (200, 200)
    for answer in (form, plain):
        record = gateway.record(answer.headers["x-request-id"])
        assert (record.endpoint, record.usage.images, record.usage_source) == ("image_edits", 2, "reported")
