"""OpenAI's own SDK through the gateway: what it raises, whoever is at fault and whenever it shows, and the record."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llm_one_api.values import Outcome
from tests.harness.answers import chats, openai_error, refusal, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.product import OTHER_KEY
from tests.harness.sdks import Sdk, check, only_our_key, openai_sdks
from tests.harness.upstream import Conversation, Script, Upstream, scripted, stream

ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FAILURE = openai_error("The server had an error.", kind="server_error", code="server_error")


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(scripted_upstream.url, max_body_bytes=20_000)
    made["models"]["hidden"] = made["models"]["m"]
    with gateway(tmp_path_factory.mktemp("sdk"), made) as it:
        yield it


@pytest.fixture(scope="module")
def sdks(running: Gateway) -> Iterator[dict[str, Sdk]]:
    with openai_sdks(running.url) as both:
        yield both


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, sdks: dict[str, Sdk]) -> Sdk:
    return sdks[request.param]


@pytest.fixture
def upstream(scripted_upstream: Upstream) -> Iterator[Upstream]:
    """The upstream, which in the end has seen our key on each call, and nowhere the caller's."""
    scripted_upstream.answer(whole(chats.chat()))
    yield scripted_upstream
    only_our_key(scripted_upstream)


# ---- instead of an answer ----


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "raised", "kind", "code", "outcome"),
    [
        (400, openai.BadRequestError, "invalid_request_error", "context_length_exceeded", "client_error"),
        (404, openai.NotFoundError, "invalid_request_error", "model_not_found", "client_error"),
        (409, openai.ConflictError, "invalid_request_error", "conflict", "client_error"),
        (422, openai.UnprocessableEntityError, "invalid_request_error", "unprocessable", "client_error"),
        (429, openai.RateLimitError, "requests", "rate_limit_exceeded", "upstream_error"),
        (500, openai.InternalServerError, "server_error", "server_error", "upstream_error"),
        (503, openai.InternalServerError, "server_error", "overloaded", "upstream_error"),
    ],
)
def test_an_error_of_the_upstreams_is_raised_as_its_own(
    sdk: Sdk,
    running: Gateway,
    upstream: Upstream,
    status: int,
    raised: type[openai.APIStatusError],
    kind: str,
    code: str,
    outcome: Outcome,
    streams: bool,
) -> None:
    upstream.answer(refusal(status, openai_error("It says why.", kind=kind, code=code, param="messages")))

    with pytest.raises(raised, match=r"It says why\.") as caught:
        sdk.ask(lambda client: client.chat.completions.create(**ASKED, stream=streams))

    error = caught.value
    assert (type(error), error.status_code) == (raised, status)
    assert (error.code, error.type, error.param) == (code, kind, "messages")
    record = running.record(error.request_id or "")
    check(record, outcome=outcome, status=status, error=code, usage_source="none", stream=streams)
    check(record, provider_request_id="req_upstream", sdk_retry_count=0, finish_reason=None)


@pytest.mark.parametrize("status", [401, 403])
def test_our_upstreams_refusal_of_our_key_is_not_the_callers_fault(
    sdk: Sdk, running: Gateway, upstream: Upstream, status: int
) -> None:
    upstream.answer(refusal(status, openai_error("Incorrect API key: sk-up…", kind="x", code="invalid_api_key")))

    with pytest.raises(openai.InternalServerError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(**ASKED))

    assert (caught.value.status_code, caught.value.code) == (502, "upstream_auth_failed")
    assert "sk-up" not in str(caught.value)
    check(running.record(caught.value.request_id or ""), outcome="upstream_error", status=502)


def test_a_retry_of_the_sdks_is_a_call_of_its_own_and_says_so(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    fails = refusal(500, FAILURE, b"retry-after-ms: 1\r\n")
    upstream.answer(fails, fails, whole(chats.chat()))
    before = len(running.records())

    answer = sdk.ask(lambda client: client.with_options(max_retries=2).chat.completions.create(**ASKED))

    assert answer.usage == chats.TOLD
    records = running.records()[before:]
    assert [(r.sdk_retry_count, r.outcome, r.status) for r in records] == [
        (0, "upstream_error", 500),
        (1, "upstream_error", 500),
        (2, "success", 200),
    ]
    assert records[-1].request_id == answer._request_id
    assert len({r.request_id for r in records}) == len(upstream.seen) == 3


def test_an_upstream_that_says_not_to_try_again_is_not_tried_again(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(refusal(500, FAILURE, b"x-should-retry: false\r\n"))

    with pytest.raises(openai.InternalServerError):
        sdk.ask(lambda client: client.with_options(max_retries=2).chat.completions.create(**ASKED))

    assert len(upstream.seen) == 1


# ---- refused by us ----


def test_a_key_that_we_do_not_know(running: Gateway, sdk: Sdk, upstream: Upstream) -> None:
    before = running.records()

    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.ask(lambda client: client.with_options(api_key="sk-unknown").chat.completions.create(**ASKED))

    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")
    assert caught.value.request_id
    assert (upstream.seen, running.records()) == ([], before)  # else anybody could fill the disk


@pytest.mark.parametrize("model", ["nothing", "hidden"])
def test_a_model_that_there_is_not_for_this_key(running: Gateway, sdk: Sdk, upstream: Upstream, model: str) -> None:
    asked = {**ASKED, "model": model}

    with pytest.raises(openai.NotFoundError, match=model) as caught:
        sdk.ask(lambda client: client.with_options(api_key=OTHER_KEY).chat.completions.create(**asked))

    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")
    record = running.record(caught.value.request_id or "")
    check(record, outcome="rejected", status=404, error="model_not_found", model=model, user="bob", sdk_retry_count=0)
    assert upstream.seen == []


def test_a_request_that_is_too_large(running: Gateway, sdk: Sdk, upstream: Upstream) -> None:
    long: Any = [{"role": "user", "content": "x" * 30_000}]

    with pytest.raises(openai.APIStatusError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(model="m", messages=long))

    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    check(running.record(caught.value.request_id or ""), outcome="rejected", status=413, error="request_too_large")
    assert upstream.seen == []


def test_a_request_that_names_no_model(running: Gateway, sdk: Sdk, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(model="", messages=[]))

    assert (caught.value.code, caught.value.param) == ("missing_model", "model")
    check(running.record(caught.value.request_id or ""), outcome="rejected", status=400, error="missing_model")
    assert upstream.seen == []


def test_an_upstream_that_hangs_up_is_a_502(running: Gateway, sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(Conversation.reset)

    with pytest.raises(openai.InternalServerError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(**ASKED))

    assert (caught.value.status_code, caught.value.code) == (502, "upstream_closed")
    check(running.record(caught.value.request_id or ""), outcome="upstream_error", status=502, usage_source="none")


# ---- in the middle of a stream ----


@pytest.mark.parametrize("ends", ["clean", "with DONE", "cut off", "not before the caller has hung up"])
def test_an_error_in_the_middle_of_a_stream_is_raised(
    sdk: Sdk, running: Gateway, upstream: Upstream, ends: str
) -> None:
    error = b"data: " + json.dumps(FAILURE).encode() + b"\n\n"
    last = [b"data: [DONE]\n\n"] if ends == "with DONE" else []
    events = (chats.ROLE, *chats.WORDS, error, *last)
    ways = {"cut off": _then_hangs_up, "not before the caller has hung up": _then_stays}
    upstream.answer(ways.get(ends, stream)(*events))

    seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True))

    assert "".join(c.choices[0].delta.content or "" for c in seen.events) == "Hi there."
    assert isinstance(seen.error, openai.APIError)
    assert (str(seen.error), seen.error.code) == ("The server had an error.", "server_error")
    record = running.record(seen.request_id)
    check(record, outcome="stream_error", status=200, error="server_error", stream=True, response_model=chats.MODEL)
    check(record, usage_source="partial", finish_reason=None)
    assert record.usage.completion_tokens
    assert record.usage.prompt_tokens


@pytest.mark.parametrize("how", ["ends early", "hangs up"])
@pytest.mark.parametrize("helper", [False, True], ids=["create", "helper"])
def test_a_stream_that_is_cut_off_is_raised(
    sdk: Sdk, running: Gateway, upstream: Upstream, how: str, helper: bool
) -> None:
    begun = (chats.ROLE, *chats.WORDS)
    upstream.answer(stream(*begun) if how == "ends early" else _then_hangs_up(*begun))

    if helper:
        seen = sdk.enter(lambda client: client.chat.completions.stream(**ASKED), final="get_final_completion")
    else:
        seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True))

    assert isinstance(seen.error, openai.APIError)
    assert (seen.error.code, seen.final) == ("upstream_truncated", None)
    assert len(seen.events) >= 3
    record = running.record(seen.request_id)
    check(record, outcome="truncated", status=200, error="upstream_truncated", usage_source="partial", stream=True)
    assert record.usage.completion_tokens


def _then_hangs_up(*events: bytes) -> Script:
    def answer(talk: Conversation) -> None:
        stream(*events, end=False)(talk)
        talk._sock.shutdown(socket.SHUT_RDWR)  # and not a reset, which may overtake what was sent

    return answer


def _then_stays(*events: bytes) -> Script:
    def answer(talk: Conversation) -> None:
        stream(*events, end=False)(talk)
        assert talk.wait_closed()

    return answer
