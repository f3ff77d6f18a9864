"""OpenAI's own SDK through the gateway: responses, as they are made, streamed, asked about again and deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseError
from openai.types.responses.response import IncompleteDetails
from pydantic import BaseModel

from llm_one_api.values import NO_USAGE
from tests.harness.answers import openai_error, refusal, responses, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.sdks import Sdk, check, only_our_key, openai_sdks
from tests.harness.upstream import Upstream, json_answer, scripted, stream

TOOLS: Any = [
    {
        "type": "function",
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    }
]
ASKED = {"model": "m", "input": "hi"}
PATH = b"/v1/responses/" + responses.ID.encode()


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("sdk"), settings(scripted_upstream.url)) as it:
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
    yield scripted_upstream
    only_our_key(scripted_upstream)


def test_a_response(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    made = responses.response(responses.THOUGHT, responses.says("Hi there."))
    upstream.answer(whole(made))

    answer = sdk.ask(lambda client: client.responses.create(**ASKED, user="end-1", instructions="Be short."))

    assert answer.to_dict() == made.to_dict()
    assert (answer.output_text, answer.usage) == ("Hi there.", responses.TOLD)
    record = running.record(answer._request_id)
    check(record, **responses.RECORDED, model="m", upstream_model="demo", endpoint="responses", stream=False)
    check(record, end_user="end-1", sdk_retry_count=0, provider_request_id="req_upstream", error=None)
    assert json.loads(upstream.seen[0].body) == {
        "input": "hi",
        "instructions": "Be short.",
        "model": "demo",
        "user": "end-1",
    }


def test_a_response_that_calls_a_tool(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(responses.response(responses.call())), whole(responses.response(responses.says("Mild."))))

    asked = sdk.ask(lambda client: client.responses.create(**ASKED, tools=TOOLS))
    result = {"type": "function_call_output", "call_id": asked.output[0].call_id, "output": "17"}
    answer = sdk.ask(lambda client: client.responses.create(model="m", input=[*asked.output, result], tools=TOOLS))

    assert (asked.output[0].name, asked.output[0].arguments) == ("weather", responses.ARGUMENTS)
    assert answer.output_text == "Mild."
    for given in (asked, answer):
        check(running.record(given._request_id), **responses.RECORDED)
    assert [item["type"] for item in json.loads(upstream.seen[1].body)["input"]] == [
        "function_call",
        "function_call_output",
    ]


class Weather(BaseModel):
    city: str
    unit: str


def test_structured_output_is_parsed(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(responses.response(responses.says(responses.ARGUMENTS))))

    answer = sdk.ask(lambda client: client.responses.parse(**ASKED, text_format=Weather))

    assert answer.output_parsed == Weather(city="Paris", unit="°C")
    check(running.record(answer._request_id), **responses.RECORDED)
    assert json.loads(upstream.seen[0].body)["text"]["format"]["type"] == "json_schema"


def test_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    events = [*responses.START, *responses.WORDS, responses.COMPLETED]
    upstream.answer(stream(*events))

    seen = sdk.stream(lambda client: client.responses.create(**ASKED, stream=True, user="end-2"))

    assert seen.error is None
    assert [event.sequence_number for event in seen.events] == list(range(10))
    deltas = [event.delta for event in seen.events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Hi there."
    assert seen.events[-1].response.usage == responses.TOLD
    record = running.record(seen.request_id)
    check(record, **responses.RECORDED, stream=True, end_user="end-2", sdk_retry_count=0, endpoint="responses")
    assert record.ttft is not None
    assert "stream_options" not in json.loads(upstream.seen[0].body)


def test_the_stream_helper_puts_the_response_together(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*responses.START, *responses.CALLS, responses.CALLED))

    seen = sdk.enter(lambda client: client.responses.stream(**ASKED, tools=TOOLS), final="get_final_response")

    [called] = seen.final.output
    assert called.parsed_arguments == {"city": "Paris", "unit": "°C"}
    assert seen.final.usage == responses.TOLD
    deltas = [event.delta for event in seen.events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == responses.ARGUMENTS
    check(running.record(seen.request_id), **responses.RECORDED, stream=True)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_one_that_is_incomplete_is_a_success_that_says_why(
    sdk: Sdk, running: Gateway, upstream: Upstream, streams: bool
) -> None:
    short = responses.response(
        responses.says("Hi"),
        status="incomplete",
        incomplete=IncompleteDetails(reason="max_output_tokens"),
    )
    told = {**responses.RECORDED, "finish_reason": "max_output_tokens"}

    if streams:
        upstream.answer(stream(*responses.START, *responses.WORDS, responses.INCOMPLETE))
        seen = sdk.stream(lambda client: client.responses.create(**ASKED, stream=True))
        answer, request_id = seen.events[-1].response, seen.request_id
    else:
        upstream.answer(whole(short))
        answer = sdk.ask(lambda client: client.responses.create(**ASKED))
        request_id = answer._request_id

    assert answer.to_dict() == short.to_dict()
    check(running.record(request_id), **told, stream=streams)


def test_one_in_the_background_uses_nothing_yet(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(responses.response(status="queued", usage=None)))

    answer = sdk.ask(lambda client: client.responses.create(**ASKED, background=True))

    assert answer.status == "queued"
    check(running.record(answer._request_id), outcome="success", usage=NO_USAGE, usage_source="none", usage_raw=None)


# ---- what was made before ----


def test_one_that_was_made_before_is_not_counted_again(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    made = responses.response(responses.says("Hi there."))
    upstream.answer(whole(made))

    answer = sdk.ask(lambda client: client.responses.retrieve(responses.ID, include=["reasoning.encrypted_content"]))

    assert answer.to_dict() == made.to_dict()
    record = running.record(answer._request_id)
    check(record, outcome="success", status=200, endpoint="response", stream=False, response_model=responses.MODEL)
    check(record, usage=NO_USAGE, usage_source="none", usage_raw=None, cost=None)
    [seen] = upstream.seen
    assert seen.head.startswith(b"GET " + PATH + b"?include%5B%5D=reasoning.encrypted_content HTTP/1.1\r\n")
    assert seen.body == b""


def test_one_that_was_made_before_comes_as_a_stream_and_is_not_counted_again(
    sdk: Sdk, running: Gateway, upstream: Upstream
) -> None:
    upstream.answer(stream(*responses.WORDS[-2:], responses.COMPLETED))

    seen = sdk.stream(lambda client: client.responses.retrieve(responses.ID, stream=True, starting_after=6))

    assert [event.sequence_number for event in seen.events] == [7, 8, 9]
    record = running.record(seen.request_id)
    check(record, outcome="success", endpoint="response", stream=True, usage=NO_USAGE, usage_source="none")
    query = upstream.seen[0].head.split(b" ")[1].partition(b"?")[2]
    assert sorted(query.split(b"&")) == [b"starting_after=6", b"stream=true"]


def test_one_is_deleted(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    gone = {"id": responses.ID, "object": "response", "deleted": True}
    upstream.answer(json_answer(200, json.dumps(gone).encode()))
    before = running.records()

    assert sdk.ask(lambda client: client.responses.delete(responses.ID)) is None

    [record] = running.records()[len(before) :]
    check(record, outcome="success", status=200, endpoint="response", usage_source="none")
    assert upstream.seen[0].head.startswith(b"DELETE " + PATH + b" HTTP/1.1\r\n")


def test_one_that_nobody_made_is_not_found(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(refusal(404, openai_error("No response with id 'resp_x'.", kind="invalid_request_error")))

    with pytest.raises(openai.NotFoundError, match="resp_x") as caught:
        sdk.ask(lambda client: client.responses.retrieve("resp_x"))

    check(running.record(caught.value.request_id or ""), outcome="client_error", status=404, endpoint="response")


# ---- what fails ----


def test_an_error_in_the_middle_of_a_stream_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*responses.START, *responses.WORDS[:4], responses.ERROR))

    seen = sdk.stream(lambda client: client.responses.create(**ASKED, stream=True))

    assert seen.events[-1].type == "error"  # as the upstream sent it: the SDK does not raise on it
    assert isinstance(seen.error, openai.APIError)
    assert seen.error.code == "server_error"
    record = running.record(seen.request_id)
    check(record, outcome="stream_error", error="server_error", usage_source="partial", stream=True, status=200)
    assert record.usage.completion_tokens


def test_a_response_that_failed_says_so_at_its_end(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*responses.START, *responses.WORDS, responses.FAILED))

    seen = sdk.stream(lambda client: client.responses.create(**ASKED, stream=True))

    last = seen.events[-1]
    assert (seen.error, last.type, last.response.error.code) == (None, "response.failed", "server_error")
    told = {**responses.RECORDED, "outcome": "stream_error", "finish_reason": None}
    check(running.record(seen.request_id), **told, error="server_error", stream=True)


def test_a_whole_response_that_failed_is_a_failure(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    failed = ResponseError(code="rate_limit_exceeded", message="Too much.")
    upstream.answer(whole(responses.response(status="failed", error=failed)))

    answer = sdk.ask(lambda client: client.responses.create(**ASKED))

    assert (answer.status, answer.error.code) == ("failed", "rate_limit_exceeded")
    told = {**responses.RECORDED, "outcome": "upstream_error", "finish_reason": None}
    check(running.record(answer._request_id), **told, error="rate_limit_exceeded")


@pytest.mark.parametrize("helper", [False, True], ids=["create", "helper"])
def test_a_stream_that_is_cut_off_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream, helper: bool) -> None:
    upstream.answer(stream(*responses.START, *responses.WORDS[:4]))

    if helper:
        seen = sdk.enter(lambda client: client.responses.stream(**ASKED), final="get_final_response")
    else:
        seen = sdk.stream(lambda client: client.responses.create(**ASKED, stream=True))

    assert isinstance(seen.error, openai.APIError)
    assert (seen.error.code, len(seen.events)) == ("upstream_truncated", 6)
    record = running.record(seen.request_id)
    check(
        record, outcome="truncated", error="upstream_truncated", usage_source="partial", response_model=responses.MODEL
    )
    assert record.usage.completion_tokens
