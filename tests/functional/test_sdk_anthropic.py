"""Anthropic's own SDK through the gateway: what it gives back and what is recorded."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from llm_one_api.values import NO_USAGE, Outcome
from tests.harness.answers import anthropic_error, messages, refusal, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.sdks import Sdk, anthropic_sdks, check, only_our_key
from tests.harness.upstream import Upstream, scripted, stream

HI: Any = [{"role": "user", "content": "hi"}]
ASKED: Any = {"model": "m", "max_tokens": 64, "messages": HI}
TOOLS: Any = [
    {
        "name": "weather",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        },
    }
]


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(scripted_upstream.url, {"adapter": "anthropic"}, max_body_bytes=20_000)
    made["models"]["copied"] = {**made["models"]["m"], "adapter": "openai"}
    with gateway(tmp_path_factory.mktemp("sdk"), made) as it:
        yield it


@pytest.fixture(scope="module")
def sdks(running: Gateway) -> Iterator[dict[str, Sdk]]:
    with anthropic_sdks(running.url) as both:
        yield both


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, sdks: dict[str, Sdk]) -> Sdk:
    return sdks[request.param]


@pytest.fixture
def upstream(scripted_upstream: Upstream) -> Iterator[Upstream]:
    """The upstream, which in the end has seen our key on each call, and nowhere the caller's."""
    scripted_upstream.answer(whole(messages.message()))
    yield scripted_upstream
    only_our_key(scripted_upstream)


@pytest.fixture(scope="module")
def version() -> bytes:
    """What this SDK names as `anthropic-version`."""
    with anthropic.Anthropic(api_key="none") as client:
        return str(client.default_headers["anthropic-version"]).encode()


def headers(upstream: Upstream, prefix: bytes = b"") -> dict[bytes, bytes]:
    """Read the headers that the upstream has seen, each of which stood there once."""
    [seen] = upstream.seen
    lines = [line.partition(b": ") for line in seen.head.split(b"\r\n")[1:]]
    found = [(name.lower(), value) for name, _, value in lines if name.lower().startswith(prefix)]
    assert len(dict(found)) == len(found)
    return dict(found)


# ---- whole ----


def test_a_message(sdk: Sdk, running: Gateway, upstream: Upstream, version: bytes) -> None:
    upstream.answer(whole(messages.message()))

    answer = sdk.ask(lambda client: client.messages.create(**ASKED, system="Be short.", metadata={"user_id": "end-1"}))

    assert answer.to_dict() == messages.message().to_dict()
    assert (answer.content[0].text, answer.usage.to_dict()) == ("Hi there.", messages.TOLD.to_dict())
    assert uuid.UUID(answer._request_id).version == 7
    record = running.record(answer._request_id)
    check(record, **messages.RECORDED, model="m", upstream_model="demo", endpoint="messages", stream=False)
    check(record, end_user="end-1", sdk_retry_count=0, provider_request_id="req_upstream", user="alice", error=None)
    assert json.loads(upstream.seen[0].body) == {
        "model": "demo",
        "max_tokens": 64,
        "messages": HI,
        "system": "Be short.",
        "metadata": {"user_id": "end-1"},
    }
    assert upstream.seen[0].head.startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert headers(upstream, b"anthropic-") == {b"anthropic-version": version}
    assert headers(upstream, b"x-api-key") == {b"x-api-key": b"sk-upstream-secret-0009"}
    assert headers(upstream, b"authorization") == {}


def test_a_message_that_calls_tools(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    asks = messages.message(messages.says("I look."), messages.call(1), messages.call(2), stop="tool_use")
    upstream.answer(whole(asks), whole(messages.message(messages.says("Mild."))))

    asked = sdk.ask(lambda client: client.messages.create(**ASKED, tools=TOOLS, tool_choice={"type": "any"}))
    calls = [block for block in asked.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "17"} for call in calls]
    told = [*HI, {"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    answer = sdk.ask(lambda client: client.messages.create(model="m", max_tokens=64, messages=told, tools=TOOLS))

    assert [(call.id, call.name, call.input) for call in calls] == [
        ("toolu_1", "weather", messages.INPUT),
        ("toolu_2", "weather", messages.INPUT),
    ]
    assert answer.content[0].text == "Mild."
    check(running.record(asked._request_id), **{**messages.RECORDED, "finish_reason": "tool_use"})
    check(running.record(answer._request_id), **messages.RECORDED)
    assert json.loads(upstream.seen[1].body)["messages"][2]["content"] == results


def test_a_message_that_was_thought_about(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.message(messages.THOUGHT, messages.says("Hi there."))))
    thinking = {"type": "enabled", "budget_tokens": 2048}

    answer = sdk.ask(lambda client: client.messages.create(**{**ASKED, "max_tokens": 4096}, thinking=thinking))

    assert [block.to_dict() for block in answer.content] == [
        messages.THOUGHT.to_dict(),
        messages.says("Hi there.").to_dict(),
    ]
    check(running.record(answer._request_id), **messages.RECORDED)
    assert json.loads(upstream.seen[0].body)["thinking"] == thinking


class Weather(BaseModel):
    city: str
    unit: str


def test_structured_output_is_parsed(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.message(messages.says(json.dumps(messages.INPUT)))))

    answer = sdk.ask(lambda client: client.messages.parse(**ASKED, output_format=Weather))

    assert answer.parsed_output == Weather(city="Paris", unit="°C")
    check(running.record(answer._request_id), **messages.RECORDED)


def test_tokens_are_counted_and_none_is_used(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.COUNT))

    answer = sdk.ask(lambda client: client.messages.count_tokens(model="m", messages=HI, system="Be short."))

    assert answer.input_tokens == 14
    record = running.record(answer._request_id)
    check(record, outcome="success", status=200, endpoint="count_tokens", stream=False)
    check(record, usage=NO_USAGE, usage_source="none", usage_raw=None, sdk_retry_count=0)
    assert upstream.seen[0].head.startswith(b"POST /v1/messages/count_tokens HTTP/1.1\r\n")
    assert json.loads(upstream.seen[0].body)["model"] == "demo"


# ---- who asks, and of whom ----


def test_the_beta_client_has_its_headers_and_its_query(
    sdk: Sdk, running: Gateway, upstream: Upstream, version: bytes
) -> None:
    upstream.answer(whole(messages.message()))

    answer = sdk.ask(
        lambda client: client.beta.messages.create(
            **ASKED,
            betas=["context-1m", "files-api"],
            extra_query={"beta": "true"},  # as older versions of it send
        )
    )

    assert answer.content[0].text == "Hi there."
    check(running.record(answer._request_id), **messages.RECORDED, endpoint="messages")
    assert upstream.seen[0].head.startswith(b"POST /v1/messages?beta=true HTTP/1.1\r\n")
    assert headers(upstream, b"anthropic-") == {
        b"anthropic-version": version,
        b"anthropic-beta": b"context-1m,files-api",
    }


def test_the_beta_client_streams_and_counts(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(messages.message_stream(), whole(messages.COUNT))

    seen = sdk.enter(lambda client: client.beta.messages.stream(**ASKED), final="get_final_message")
    asked = {"model": "m", "messages": HI, "extra_query": {"beta": "true"}}
    count = sdk.ask(lambda client: client.beta.messages.count_tokens(**asked))

    assert (seen.final.content[0].text, count.input_tokens) == ("Hi there.", 14)
    check(running.record(seen.request_id), **messages.RECORDED, stream=True)
    check(running.record(count._request_id), endpoint="count_tokens", usage_source="none")
    assert upstream.seen[1].head.startswith(b"POST /v1/messages/count_tokens?beta=true HTTP/1.1\r\n")


def test_the_version_that_a_caller_names_goes_before_ours(sdk: Sdk, upstream: Upstream) -> None:
    sdk.ask(
        lambda client: client.messages.create(**ASKED, extra_headers={"anthropic-version": "2099-01-01"})
    )  # fmt: skip

    assert headers(upstream, b"anthropic-version") == {b"anthropic-version": b"2099-01-01"}


def test_a_bearer_token_is_a_key_too(running: Gateway, upstream: Upstream) -> None:
    with anthropic.Anthropic(auth_token=KEY, base_url=running.url, max_retries=0) as client:
        answer = client.messages.create(**ASKED)

    check(running.record(answer._request_id or ""), **messages.RECORDED, user="alice")


def test_an_upstream_that_copied_this_api_is_shown_the_key_as_openai_is(
    sdk: Sdk, running: Gateway, upstream: Upstream, version: bytes
) -> None:
    answer = sdk.ask(lambda client: client.messages.create(**{**ASKED, "model": "copied"}))

    assert answer.content[0].text == "Hi there."
    check(running.record(answer._request_id), **messages.RECORDED, model="copied")
    assert headers(upstream, b"authorization") == {b"authorization": b"Bearer sk-upstream-secret-0009"}
    assert headers(upstream, b"anthropic-version") == {b"anthropic-version": version}
    assert headers(upstream, b"x-api-key") == {}


# ---- streams ----


def test_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(messages.message_stream())

    seen = sdk.stream(lambda client: client.messages.create(**ASKED, stream=True, metadata={"user_id": "end-2"}))

    assert (seen.error, [event.type for event in seen.events]) == (
        None,
        [
            "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
            "message_delta", "message_stop",
        ],
    )  # fmt: skip
    assert "".join(event.delta.text for event in seen.events[2:4]) == "Hi there."
    assert seen.events[5].usage.output_tokens == 30
    record = running.record(seen.request_id)
    check(record, **messages.RECORDED, stream=True, end_user="end-2", sdk_retry_count=0, endpoint="messages")
    assert record.ttft is not None


def test_the_stream_helper_puts_the_message_together(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    events = (*messages.thinks(0), *messages.words(1), *messages.calls(2), *messages.calls(3))
    upstream.answer(messages.message_stream(*events, stop="tool_use"))

    seen = sdk.enter(lambda client: client.messages.stream(**ASKED, tools=TOOLS), final="get_final_message")

    thought, text, *calls = seen.final.content
    assert (thought.thinking, thought.signature, text.text) == ("They greet me.", "EqoB", "Hi there.")
    assert [(call.id, call.input) for call in calls] == [("toolu_2", messages.INPUT), ("toolu_3", messages.INPUT)]
    assert seen.final.usage.to_dict() == messages.TOLD.to_dict()  # cumulative: replaced by the SDK, and by us
    assert {event.type for event in seen.events} >= {"text", "thinking", "input_json", "message_stop"}
    check(running.record(seen.request_id), **{**messages.RECORDED, "finish_reason": "tool_use"}, stream=True)


def test_the_text_of_a_stream_alone(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(messages.message_stream())

    seen = sdk.enter(lambda client: client.messages.stream(**ASKED), final="get_final_text")

    assert seen.final == "Hi there."
    check(running.record(seen.request_id), **messages.RECORDED, stream=True)


@pytest.mark.parametrize("helper", [False, True], ids=["create", "helper"])
def test_an_error_in_the_middle_of_a_stream_is_raised(
    sdk: Sdk, running: Gateway, upstream: Upstream, helper: bool
) -> None:
    upstream.answer(stream(messages.START, messages.PING, *messages.words()[:-1], messages.ERROR))

    if helper:
        seen = sdk.enter(lambda client: client.messages.stream(**ASKED), final="get_final_message")
    else:
        seen = sdk.stream(lambda client: client.messages.create(**ASKED, stream=True))

    assert isinstance(seen.error, anthropic.APIStatusError)
    assert (seen.error.type, seen.error.api_message) == ("overloaded_error", "Overloaded")
    record = running.record(seen.request_id)
    check(record, outcome="stream_error", status=200, error="overloaded_error", stream=True)
    check(record, usage_source="partial", response_model=messages.MODEL, finish_reason=None)
    assert record.usage.prompt_tokens == messages.USAGE.prompt_tokens  # told by the start of the stream
    assert record.usage.completion_tokens in range(2, 6)  # and this was counted


@pytest.mark.parametrize("helper", [False, True], ids=["create", "helper"])
def test_a_stream_that_is_cut_off_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream, helper: bool) -> None:
    upstream.answer(stream(messages.START, messages.PING, *messages.words()))

    if helper:
        seen = sdk.enter(lambda client: client.messages.stream(**ASKED), final="get_final_message")
    else:
        seen = sdk.stream(lambda client: client.messages.create(**ASKED, stream=True))

    assert isinstance(seen.error, anthropic.APIStatusError)
    assert (seen.error.type, seen.final) == ("api_error", None)
    record = running.record(seen.request_id)
    check(record, outcome="truncated", error="upstream_truncated", usage_source="partial", stream=True)
    assert record.usage.prompt_tokens == messages.USAGE.prompt_tokens
    assert record.usage.cache_read_tokens == messages.USAGE.cache_read_tokens
    assert record.usage.completion_tokens in range(2, 6)


# ---- instead of an answer ----


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "raised", "kind", "outcome"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error", "client_error"),
        (404, anthropic.NotFoundError, "not_found_error", "client_error"),
        (413, anthropic.ContentTooLargeError, "request_too_large", "client_error"),
        (429, anthropic.RateLimitError, "rate_limit_error", "upstream_error"),
        (500, anthropic.InternalServerError, "api_error", "upstream_error"),
        (529, anthropic.OverloadedError, "overloaded_error", "upstream_error"),
    ],
)
def test_an_error_of_the_upstreams_is_raised_as_its_own(
    sdk: Sdk,
    running: Gateway,
    upstream: Upstream,
    status: int,
    raised: type[anthropic.APIStatusError],
    kind: str,
    outcome: Outcome,
    streams: bool,
) -> None:
    upstream.answer(refusal(status, anthropic_error("It says why.", kind=kind)))

    with pytest.raises(raised) as caught:
        sdk.ask(lambda client: client.messages.create(**ASKED, stream=streams))

    error = caught.value
    assert (error.status_code, error.type, error.api_message) == (status, kind, "It says why.")
    record = running.record(error.request_id or "")
    check(record, outcome=outcome, status=status, error=kind, usage_source="none", stream=streams)
    check(record, provider_request_id="req_upstream", sdk_retry_count=0)


def test_a_retry_of_the_sdks_is_a_call_of_its_own_and_says_so(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(refusal(529, messages.OVERLOADED, b"retry-after-ms: 1\r\n"), whole(messages.message()))
    before = len(running.records())

    answer = sdk.ask(lambda client: client.with_options(max_retries=2).messages.create(**ASKED))

    first, second = running.records()[before:]
    check(first, sdk_retry_count=0, outcome="upstream_error", status=529, error="overloaded_error")
    check(second, **messages.RECORDED, sdk_retry_count=1, request_id=answer._request_id)


def test_a_key_that_we_do_not_know(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    before = running.records()

    with pytest.raises(anthropic.AuthenticationError) as caught:
        sdk.ask(lambda client: client.with_options(api_key="sk-unknown").messages.create(**ASKED))

    assert caught.value.type == "authentication_error"
    assert caught.value.request_id
    assert (upstream.seen, running.records()) == ([], before)


def test_a_model_that_there_is_not(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    asked = {**ASKED, "model": "nothing"}

    with pytest.raises(anthropic.NotFoundError, match="nothing") as caught:
        sdk.ask(lambda client: client.with_options(api_key=OTHER_KEY).messages.create(**asked))

    assert caught.value.type == "not_found_error"
    record = running.record(caught.value.request_id or "")
    check(record, outcome="rejected", status=404, error="model_not_found", user="bob", model="nothing")
    assert upstream.seen == []


def test_a_request_that_is_too_large(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    long = [{"role": "user", "content": "x" * 30_000}]

    with pytest.raises(anthropic.ContentTooLargeError) as caught:
        sdk.ask(lambda client: client.messages.create(model="m", max_tokens=64, messages=long))

    assert str(caught.value.type) == "request_too_large"
    check(running.record(caught.value.request_id or ""), outcome="rejected", status=413, error="request_too_large")
    assert upstream.seen == []


@pytest.mark.parametrize("status", [401, 403])
def test_our_upstreams_refusal_of_our_key_is_not_the_callers_fault(
    sdk: Sdk, running: Gateway, upstream: Upstream, status: int
) -> None:
    upstream.answer(refusal(status, anthropic_error("invalid x-api-key", kind="authentication_error")))

    with pytest.raises(anthropic.InternalServerError) as caught:
        sdk.ask(lambda client: client.messages.create(**ASKED))

    assert (caught.value.status_code, caught.value.type) == (502, "api_error")
    check(running.record(caught.value.request_id or ""), outcome="upstream_error", error="upstream_auth_failed")
