"""OpenAI's own SDK through the gateway: chats, completions, embeddings; what it gives back and what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from llm_one_api.values import Usage
from tests.harness.answers import chats, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.sdks import Sdk, check, only_our_key, openai_sdks
from tests.harness.upstream import Upstream, scripted

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }
]
ASKED = {"model": "m", "messages": HI}


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(scripted_upstream.url)
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


def test_a_chat(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(chats.chat()))

    answer = sdk.ask(lambda client: client.chat.completions.create(**ASKED, user="end-1", service_tier="auto"))

    assert answer.to_dict() == chats.chat().to_dict()
    assert (answer.choices[0].message.content, answer.usage) == ("Hi there.", chats.TOLD)
    record = running.record(answer._request_id)
    check(record, **chats.RECORDED, model="m", upstream_model="demo", endpoint="chat", stream=False, user="alice")
    check(record, end_user="end-1", sdk_retry_count=0, provider_request_id="req_upstream", error=None)
    [seen] = upstream.seen
    assert json.loads(seen.body) == {"messages": HI, "model": "demo", "user": "end-1", "service_tier": "auto"}


def test_a_chat_that_calls_tools(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    calls = [chats.call(1), chats.call(2, '{"city":"Rome","unit":"K"}')]
    upstream.answer(whole(chats.chat(None, *calls, finish="tool_calls")), whole(chats.chat("It is mild.")))

    asked = sdk.ask(lambda client: client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="required"))
    message = asked.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "17"} for call in message.tool_calls]
    told = [*HI, message, *results]
    answer = sdk.ask(lambda client: client.chat.completions.create(model="m", messages=told, tools=TOOLS))

    assert message.tool_calls == calls
    assert answer.choices[0].message.content == "It is mild."
    check(running.record(asked._request_id), **{**chats.RECORDED, "finish_reason": "tool_calls"})
    check(running.record(answer._request_id), **chats.RECORDED)
    sent = json.loads(upstream.seen[1].body)["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["tool_calls"] == [call.to_dict() for call in calls]


def test_a_stream_whose_caller_asked_for_no_usage_has_none_and_is_recorded_with_it(
    sdk: Sdk, running: Gateway, upstream: Upstream
) -> None:
    upstream.answer(chats.chat_stream())

    seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True, user="end-2"))

    assert seen.error is None
    assert "".join(c.choices[0].delta.content or "" for c in seen.events) == "Hi there."
    assert [c.choices[0].finish_reason for c in seen.events] == [None, None, None, "stop"]
    assert {c.usage for c in seen.events} == {None}
    record = running.record(seen.request_id)
    check(record, **chats.RECORDED, stream=True, end_user="end-2", sdk_retry_count=0, endpoint="chat")
    assert record.ttft is not None
    assert json.loads(upstream.seen[0].body)["stream_options"] == {"include_usage": True}


def test_a_stream_whose_caller_asked_for_usage_has_it(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(chats.chat_stream())
    options = {"include_usage": True, "include_obfuscation": False}

    seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True, stream_options=options))

    assert (seen.error, len(seen.events)) == (None, 5)
    assert (seen.events[-1].choices, seen.events[-1].usage) == ([], chats.TOLD)
    check(running.record(seen.request_id), **chats.RECORDED, stream=True)
    assert json.loads(upstream.seen[0].body)["stream_options"] == options


def test_the_other_options_of_a_stream_stay_when_we_ask_for_usage(
    sdk: Sdk, running: Gateway, upstream: Upstream
) -> None:
    upstream.answer(chats.chat_stream())
    options = {"include_obfuscation": False}

    seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True, stream_options=options))

    assert {c.usage for c in seen.events} == {None}
    check(running.record(seen.request_id), **chats.RECORDED, stream=True)
    assert json.loads(upstream.seen[0].body)["stream_options"] == {**options, "include_usage": True}


def test_calls_of_tools_come_piece_by_piece(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(chats.chat_stream(*chats.CALLS, finish="tool_calls"))

    seen = sdk.stream(lambda client: client.chat.completions.create(**ASKED, stream=True, tools=TOOLS))

    pieces = [piece for c in seen.events for piece in c.choices[0].delta.tool_calls or ()]
    assert [(p.index, p.id, p.function.name) for p in pieces if p.id] == [
        (0, "call_0", "weather"),
        (1, "call_1", "weather"),
    ]
    for index in (0, 1):
        assert "".join(p.function.arguments for p in pieces if p.index == index) == chats.ARGUMENTS
    check(running.record(seen.request_id), **{**chats.RECORDED, "finish_reason": "tool_calls"}, stream=True)


@pytest.mark.parametrize("usage", [False, True], ids=["unasked", "with usage"])
def test_the_stream_helper_puts_the_chat_together(sdk: Sdk, running: Gateway, upstream: Upstream, usage: bool) -> None:
    upstream.answer(chats.chat_stream(*chats.WORDS, *chats.CALLS, finish="tool_calls"))
    options = {"stream_options": {"include_usage": True}} if usage else {}

    seen = sdk.enter(
        lambda client: client.chat.completions.stream(**ASKED, tools=TOOLS, **options), final="get_final_completion"
    )

    message = seen.final.choices[0].message
    assert message.content == "Hi there."
    assert [call.function.parsed_arguments["unit"] for call in message.tool_calls] == ["°C", "°C"]
    assert seen.final.usage == (chats.TOLD if usage else None)
    assert "tool_calls.function.arguments.done" in {event.type for event in seen.events}
    check(running.record(seen.request_id), **{**chats.RECORDED, "finish_reason": "tool_calls"}, stream=True)


class Weather(BaseModel):
    city: str
    unit: str


def test_structured_output_is_parsed(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(chats.chat(chats.ARGUMENTS)))

    answer = sdk.ask(lambda client: client.chat.completions.parse(**ASKED, response_format=Weather))

    assert answer.choices[0].message.parsed == Weather(city="Paris", unit="°C")
    check(running.record(answer._request_id), **chats.RECORDED)
    assert json.loads(upstream.seen[0].body)["response_format"]["json_schema"]["name"] == "Weather"


def test_structured_output_is_parsed_of_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    half = len(chats.ARGUMENTS) // 2
    upstream.answer(chats.chat_stream(chats.says(chats.ARGUMENTS[:half]), chats.says(chats.ARGUMENTS[half:])))

    seen = sdk.enter(
        lambda client: client.chat.completions.stream(**ASKED, response_format=Weather), final="get_final_completion"
    )

    assert seen.final.choices[0].message.parsed == Weather(city="Paris", unit="°C")
    check(running.record(seen.request_id), **chats.RECORDED, stream=True)


def test_a_completion(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(chats.completion("Hi there.")))

    answer = sdk.ask(lambda client: client.completions.create(model="m", prompt="say hi", user="end-3"))

    assert (answer.choices[0].text, answer.usage) == ("Hi there.", chats.TOLD)
    told = {**chats.RECORDED, "service_tier": None}
    check(running.record(answer._request_id), **told, endpoint="completions", stream=False, end_user="end-3")
    assert upstream.seen[0].head.startswith(b"POST /v1/completions ")


def test_a_completion_as_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(chats.completion_stream())

    seen = sdk.stream(lambda client: client.completions.create(model="m", prompt="say hi", stream=True))

    assert [c.choices[0].text for c in seen.events] == ["Hi ", "there."]
    told = {**chats.RECORDED, "service_tier": None}
    check(running.record(seen.request_id), **told, endpoint="completions", stream=True)


@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}], ids=["as the SDK likes", "as numbers"])
def test_embeddings(sdk: Sdk, running: Gateway, upstream: Upstream, asked: dict[str, str]) -> None:
    upstream.answer(whole(chats.embeddings(base64_format=not asked)))

    answer = sdk.ask(lambda client: client.embeddings.create(model="m", input=["hi"], user="end-4", **asked))

    assert answer.data[0].embedding == chats.VECTOR
    record = running.record(answer._request_id)
    check(record, usage_source="reported", outcome="success", endpoint="embeddings", stream=False, end_user="end-4")
    check(record, usage=Usage(prompt_tokens=8, total_tokens=8), response_model="embed-scripted", finish_reason=None)
    assert json.loads(upstream.seen[0].body)["encoding_format"] == asked.get("encoding_format", "base64")


def test_the_models_are_listed_without_the_upstream(sdk: Sdk, upstream: Upstream) -> None:
    listed = sdk.ask(lambda client: client.models.list()).data
    one = sdk.ask(lambda client: client.models.retrieve("m"))

    assert [model.id for model in listed] == [one.id] == ["m"]
    assert upstream.seen == []
