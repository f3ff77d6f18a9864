"""OpenAI's own SDK in front of upstreams that speak otherwise: Anthropic's Messages, and Azure's deployments."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from llm_one_api.values import Outcome
from tests.harness.answers import anthropic_error, chats, media, messages, openai_error, refusal, responses, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.sdks import UPSTREAM_KEY, Sdk, check, only_our_key, openai_sdks
from tests.harness.upstream import Upstream, scripted, stream

HI: Any = [{"role": "user", "content": "hi"}]
CLAUDE: Any = {"model": "m", "messages": HI}
AZURE: Any = {"model": "azure", "messages": HI}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "strict": True, "parameters": PARAMETERS}}]
TOLD = {
    "prompt_tokens": 1120,
    "completion_tokens": 30,
    "total_tokens": 1150,
    "prompt_tokens_details": {
        "cached_tokens": 1000,
        "cache_write_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    },
    "completion_tokens_details": {"reasoning_tokens": 12},
}
"""Anthropic's usage as OpenAI's callers see it: the input has the cache in it."""
RECORDED: dict[str, Any] = {**messages.RECORDED, "endpoint": "chat", "model": "m", "upstream_model": "demo"}


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(scripted_upstream.url, {"adapter": "anthropic", "default_max_tokens": 777})
    resource = scripted_upstream.url.removesuffix("/v1")
    deployed = {"adapter": "azure", "api_version": "2024-10-21", "api_key": UPSTREAM_KEY.decode()}
    made["models"]["azure"] = {**deployed, "api_base": resource, "upstream_model": "my deployment"}
    made["models"]["azure-v1"] = {**deployed, "api_base": f"{resource}/openai", "upstream_model": "d2"}
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
    scripted_upstream.answer(whole(messages.message()))
    yield scripted_upstream
    only_our_key(scripted_upstream)


def headers(upstream: Upstream) -> dict[bytes, bytes]:
    """Read the headers that the upstream has seen."""
    lines = [line.partition(b": ") for line in upstream.seen[0].head.split(b"\r\n")[1:]]
    return {name.lower(): value for name, _, value in lines}


def asked(upstream: Upstream, number: int = 0) -> Any:
    return json.loads(upstream.seen[number].body)


# ---- Anthropic: whole ----


def test_a_chat(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.message()))
    told = [{"role": "system", "content": "Be short."}, *HI]

    answer = sdk.ask(lambda client: client.chat.completions.create(model="m", messages=told, user="end-1", stop="END"))

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hi there.", "stop")
    assert (answer.model, answer.object, answer.service_tier) == (messages.MODEL, "chat.completion", "default")
    assert answer.usage.to_dict() == TOLD
    record = running.record(answer._request_id)
    check(record, **RECORDED, stream=False, end_user="end-1", sdk_retry_count=0, provider_request_id="req_upstream")
    assert asked(upstream) == {
        "model": "demo",
        "max_tokens": 777,
        "system": [{"type": "text", "text": "Be short."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "metadata": {"user_id": "end-1"},
        "stop_sequences": ["END"],
    }
    assert upstream.seen[0].head.startswith(b"POST /v1/messages HTTP/1.1\r\n")
    sent = headers(upstream)
    assert (sent[b"x-api-key"], sent[b"anthropic-version"]) == (UPSTREAM_KEY, b"2023-06-01")
    assert b"authorization" not in sent


def test_a_chat_that_calls_tools(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    asks = messages.message(messages.says("I look."), messages.call(1), messages.call(2), stop="tool_use")
    upstream.answer(whole(asks), whole(messages.message(messages.says("Mild."))))

    first = sdk.ask(
        lambda client: client.chat.completions.create(
            **CLAUDE, tools=TOOLS, tool_choice="required", parallel_tool_calls=True
        )
    )
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"1{n}"} for n, call in enumerate(message.tool_calls)
    ]
    told = [*HI, message, *results]
    answer = sdk.ask(lambda client: client.chat.completions.create(model="m", messages=told, tools=TOOLS))

    assert (message.content, first.choices[0].finish_reason) == ("I look.", "tool_calls")
    assert [(call.id, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("toolu_1", messages.INPUT),
        ("toolu_2", messages.INPUT),
    ]
    assert answer.choices[0].message.content == "Mild."
    check(running.record(first._request_id), **{**RECORDED, "finish_reason": "tool_use"})
    check(running.record(answer._request_id), **RECORDED)
    assert asked(upstream)["tool_choice"]["type"] == "any"
    assert asked(upstream)["tools"] == [{"name": "weather", "input_schema": PARAMETERS, "strict": True}]
    _, said, got = asked(upstream, 1)["messages"]
    assert [block["type"] for block in said["content"]] == ["text", "tool_use", "tool_use"]
    assert [(block["tool_use_id"], block["content"][0]["text"]) for block in got["content"]] == [
        ("toolu_1", "10"),
        ("toolu_2", "11"),
    ]


def test_an_image_is_shown(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    data = base64.b64encode(media.PIXELS).decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}},
    ]

    answer = sdk.ask(
        lambda client: client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    )

    check(running.record(answer._request_id), **RECORDED)
    [turn] = asked(upstream)["messages"]
    assert turn["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.jpg"}},
    ]


def test_a_chat_that_was_thought_about(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.message(messages.THOUGHT, messages.says("Hi there."))))

    answer = sdk.ask(lambda client: client.chat.completions.create(**CLAUDE, reasoning_effort="low", max_tokens=99))

    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Hi there.", "They greet me.")
    check(running.record(answer._request_id), **RECORDED)
    assert (asked(upstream)["max_tokens"], asked(upstream)["output_config"]) == (99, {"effort": "low"})


class Weather(BaseModel):
    city: str
    unit: str


def test_structured_output_is_parsed(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(messages.message(messages.says(json.dumps(messages.INPUT)))))

    answer = sdk.ask(lambda client: client.chat.completions.parse(**CLAUDE, response_format=Weather))

    assert answer.choices[0].message.parsed == Weather(city="Paris", unit="°C")
    check(running.record(answer._request_id), **RECORDED)
    assert asked(upstream)["output_config"]["format"]["type"] == "json_schema"


# ---- Anthropic: streams ----


@pytest.mark.parametrize("usage", [False, True], ids=["unasked", "with usage"])
def test_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream, usage: bool) -> None:
    upstream.answer(messages.message_stream())
    options = {"stream_options": {"include_usage": True}} if usage else {}

    seen = sdk.stream(lambda client: client.chat.completions.create(**CLAUDE, stream=True, user="end-2", **options))

    assert seen.error is None
    spoken = seen.events[:-1] if usage else seen.events
    assert "".join(c.choices[0].delta.content or "" for c in spoken) == "Hi there."
    assert [c.choices[0].finish_reason for c in spoken if c.choices[0].finish_reason] == ["stop"]
    assert {(c.model, c.object) for c in seen.events} == {(messages.MODEL, "chat.completion.chunk")}
    told = [c.usage.to_dict() for c in seen.events if c.usage]
    assert told == ([TOLD] if usage else [])
    record = running.record(seen.request_id)
    check(record, **RECORDED, stream=True, end_user="end-2", sdk_retry_count=0)
    assert record.ttft is not None
    assert asked(upstream)["stream"] is True
    assert "stream_options" not in asked(upstream)


def test_the_stream_helper_puts_the_chat_together(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    events = (*messages.thinks(0), *messages.words(1), *messages.calls(2), *messages.calls(3))
    upstream.answer(messages.message_stream(*events, stop="tool_use"))

    seen = sdk.enter(
        lambda client: client.chat.completions.stream(**CLAUDE, tools=TOOLS, stream_options={"include_usage": True}),
        final="get_final_completion",
    )

    choice = seen.final.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hi there.", "tool_calls")
    assert [(call.id, call.function.parsed_arguments) for call in choice.message.tool_calls] == [
        ("toolu_2", messages.INPUT),
        ("toolu_3", messages.INPUT),
    ]
    assert seen.final.usage.to_dict() == TOLD
    check(running.record(seen.request_id), **{**RECORDED, "finish_reason": "tool_use"}, stream=True)


def test_an_error_in_the_middle_of_a_stream_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(messages.START, *messages.words()[:-1], messages.ERROR))

    seen = sdk.stream(lambda client: client.chat.completions.create(**CLAUDE, stream=True))

    assert "".join(c.choices[0].delta.content or "" for c in seen.events) == "Hi there."
    assert isinstance(seen.error, openai.APIError)
    assert (str(seen.error), seen.error.type) == ("Overloaded", "overloaded_error")
    record = running.record(seen.request_id)
    check(record, outcome="stream_error", error="overloaded_error", usage_source="partial", stream=True)
    assert record.usage.prompt_tokens == messages.USAGE.prompt_tokens
    assert record.usage.completion_tokens in range(2, 6)


def test_a_stream_that_is_cut_off_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(messages.START, *messages.words()))

    seen = sdk.stream(lambda client: client.chat.completions.create(**CLAUDE, stream=True))

    assert isinstance(seen.error, openai.APIError)
    assert seen.error.code == "upstream_truncated"
    check(running.record(seen.request_id), outcome="truncated", usage_source="partial", stream=True)


# ---- Anthropic: errors ----


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "raised", "kind", "outcome"),
    [
        (400, openai.BadRequestError, "invalid_request_error", "client_error"),
        (404, openai.NotFoundError, "not_found_error", "client_error"),
        (429, openai.RateLimitError, "rate_limit_error", "upstream_error"),
        (500, openai.InternalServerError, "api_error", "upstream_error"),
        (529, openai.InternalServerError, "overloaded_error", "upstream_error"),
    ],
)
def test_an_error_of_anthropics_is_raised_as_one_of_openais(
    sdk: Sdk,
    running: Gateway,
    upstream: Upstream,
    status: int,
    raised: type[openai.APIStatusError],
    kind: str,
    outcome: Outcome,
    streams: bool,
) -> None:
    upstream.answer(refusal(status, anthropic_error("It says why.", kind=kind)))

    with pytest.raises(raised, match=r"It says why\.") as caught:
        sdk.ask(lambda client: client.chat.completions.create(**CLAUDE, stream=streams))

    assert (caught.value.status_code, caught.value.type) == (status, kind)
    check(running.record(caught.value.request_id or ""), outcome=outcome, status=status, error=kind, stream=streams)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "messages[0].content[0].input_audio"),
    ],
)  # fmt: skip
def test_what_anthropic_cannot_be_told_is_refused_by_its_name(
    sdk: Sdk, running: Gateway, upstream: Upstream, more: dict[str, Any], field: str
) -> None:
    told = {**CLAUDE, **more}

    with pytest.raises(openai.BadRequestError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(**told))

    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", field)
    assert f"`{field}`" in str(caught.value)
    record = running.record(caught.value.request_id or "")
    check(record, outcome="rejected", status=400, error="unsupported_parameter", model="m")
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("model", "ask"),
    [
        ("m", lambda client: client.embeddings.create(model="m", input="hi")),
        ("m", lambda client: client.responses.create(model="m", input="hi")),
        ("azure", lambda client: client.moderations.create(model="azure", input="hi")),
    ],
    ids=["anthropic embeddings", "anthropic responses", "azure moderations"],
)
def test_an_endpoint_that_the_upstream_does_not_have_is_refused(
    sdk: Sdk, running: Gateway, upstream: Upstream, model: str, ask: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.ask(ask)

    assert (caught.value.code, caught.value.param, upstream.seen) == ("unsupported_endpoint", "model", [])
    record = running.record(caught.value.request_id or "")
    check(record, outcome="rejected", error="unsupported_endpoint", model=model)


# ---- Azure ----


def test_azure_is_asked_by_its_deployment(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(chats.chat(), b"x-ms-region: Sweden Central\r\napim-request-id: apim-1\r\n"))

    answer = sdk.ask(lambda client: client.chat.completions.with_raw_response.create(**AZURE, user="end-3"))

    assert answer.headers["x-ms-region"] == "Sweden Central"
    assert answer.parse().usage == chats.TOLD
    record = running.record(answer.headers["x-request-id"])
    check(record, **chats.RECORDED, model="azure", upstream_model="my deployment", end_user="end-3", stream=False)
    path = b"/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"
    assert upstream.seen[0].head.startswith(b"POST " + path + b" HTTP/1.1\r\n")
    sent = headers(upstream)
    assert sent[b"api-key"] == UPSTREAM_KEY
    assert b"authorization" not in sent


def test_azures_first_chunk_stays_and_the_usage_that_we_asked_for_goes(
    sdk: Sdk, running: Gateway, upstream: Upstream
) -> None:
    events = (chats.FILTERED, chats.ROLE, *chats.WORDS, chats.FINISH, chats.USAGE_CHUNK)
    upstream.answer(stream(*events, b"data: [DONE]\n\n"))

    seen = sdk.stream(lambda client: client.chat.completions.create(**AZURE, stream=True))

    first, *others = seen.events
    assert (first.choices, first.prompt_filter_results[0]["prompt_index"]) == ([], 0)
    assert [c.choices[0].finish_reason for c in others] == [None, None, None, "stop"]
    check(running.record(seen.request_id), **chats.RECORDED, stream=True)
    assert asked(upstream)["stream_options"] == {"include_usage": True}


def test_azures_other_endpoints(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(
        whole(chats.embeddings(base64_format=True)),
        whole(responses.response(responses.says("Hi there."))),
        whole(media.BY_LENGTH),
    )

    embedded = sdk.ask(lambda client: client.embeddings.create(model="azure-v1", input="hi"))
    answer = sdk.ask(lambda client: client.responses.create(model="azure-v1", input="hi"))
    heard = sdk.ask(lambda client: client.audio.transcriptions.create(model="azure-v1", file=("a.wav", media.SOUND)))

    assert (embedded.data[0].embedding, answer.output_text, heard.text) == (chats.VECTOR, "Hi there.", media.HEARD)
    check(running.record(embedded._request_id), usage_source="reported", response_model="embed-scripted")
    check(running.record(answer._request_id), **responses.RECORDED)
    check(running.record(heard._request_id), usage=media.SECONDS, usage_source="reported", outcome="success")
    assert [talk.head.split(b" ")[1] for talk in upstream.seen] == [
        b"/openai/deployments/d2/embeddings?api-version=2024-10-21",
        b"/openai/responses?api-version=2024-10-21",
        b"/openai/deployments/d2/audio/transcriptions?api-version=2024-10-21",
    ]
    assert b'name="model"\r\n\r\nd2\r\n' in upstream.seen[2].body


def test_azures_errors_are_raised_as_its_own(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    filtered = openai_error("The prompt was filtered.", kind="invalid_request_error", code="content_filter")
    upstream.answer(refusal(400, filtered))

    with pytest.raises(openai.BadRequestError) as caught:
        sdk.ask(lambda client: client.chat.completions.create(**AZURE))

    assert caught.value.code == "content_filter"
    check(running.record(caught.value.request_id or ""), outcome="client_error", error="content_filter", status=400)
