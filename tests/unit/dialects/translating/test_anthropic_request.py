"""A request of an OpenAI client, in front of an Anthropic upstream."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import anthropic.types
import pydantic
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import example, given
from hypothesis import strategies as st

from llm_one_api.dialects.translating.anthropic import Untranslatable, request
from tests.unit.dialects.translating.asking import PDF, PNG, refused, text, translated

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "default": None}}, "additionalProperties": False}
DESCRIBED = {"type": "object", "description": "a"}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}
WHOLE: dict[str, Any] = {
    "model": "chat",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [text("What is this?"), {"type": "image_url", "image_url": {"url": PNG}}]},
        {
            "role": "assistant",
            "content": "Let me look.",
            "refusal": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"n": 1}'}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": [text("sun")]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}]},
        {"role": "developer", "content": "Answer in French."},
    ],
    "tools": [WEATHER],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "u-1",
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}},
    "service_tier": "default",
    "n": 1,
    "logit_bias": {},
    "top_k": 5,
}


BLOCKS = {
    "text": anthropic.types.TextBlockParam,
    "image": anthropic.types.ImageBlockParam,
    "document": anthropic.types.DocumentBlockParam,
    "tool_use": anthropic.types.ToolUseBlockParam,
    "tool_result": anthropic.types.ToolResultBlockParam,
}


def check(value: Any, shape: Any) -> None:
    """See that a value has a shape of the SDK's, and nothing beside it."""
    pydantic.TypeAdapter(shape).validate_python(value)
    if isinstance(value, dict) and hasattr(shape, "__annotations__"):
        assert set(value) <= set(shape.__annotations__)


def test_a_whole_request_is_one_that_anthropics_own_sdk_would_send() -> None:
    told = translated(**WHOLE)

    sampling = {name: told.pop(name) for name in ("temperature", "top_p", "top_k")}  # no longer in the SDK's types
    assert sampling == {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    pydantic.TypeAdapter(MessageCreateParamsStreaming).validate_python(told)
    assert set(told) == {
        "model", "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "metadata",
        "thinking", "output_config", "service_tier",
    }  # fmt: skip
    for turn in told["messages"]:
        for block in turn["content"]:
            check(block, BLOCKS[block["type"]])
            for inner in block.get("content", []):
                check(inner, BLOCKS[inner["type"]])
    for tool in told["tools"]:
        check(tool, anthropic.types.ToolParam)
    check(told["output_config"], anthropic.types.OutputConfigParam)
    assert [turn["role"] for turn in told["messages"]] == ["user", "assistant", "user", "system"]


def test_the_upstream_is_asked_for_its_own_model() -> None:
    told = translated(model="chat")

    assert told == {
        "model": "claude-x",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("Hello")]}],
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 7, "max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": None}, {"max_tokens": 4096}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.7, "top_p": 0.5}, {"temperature": 0.7, "top_p": 0.5}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["A", "B"]}, {"stop_sequences": ["A", "B"]}),
        ({"stream": True}, {"stream": True}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ({"reasoning_effort": "xhigh"}, {"output_config": {"effort": "xhigh"}, "thinking": {"type": "adaptive"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"output_config": {"effort": "low"}, "thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"description": "A number", "schema": {}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"description": "A number"}}}},
        ),
    ],
)
def test_what_has_a_counterpart_is_translated(given: dict[str, Any], told: dict[str, Any]) -> None:
    assert translated(**given) == translated() | told


@pytest.mark.parametrize(
    "given",
    [
        {"n": 1},
        {"temperature": 1},
        {"top_p": 1.0},
        {"stop": []},
        {"stop": None},
        {"stream": False},
        {"stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"logprobs": False, "top_logprobs": 0, "logit_bias": {}},
        {"presence_penalty": 0, "frequency_penalty": 0.0},
        {"modalities": ["text"], "audio": None},
        {"store": False, "metadata": {}},
        {"response_format": {"type": "text"}},
        {"verbosity": "medium"},
        {"service_tier": "auto"},
        {"tools": [], "functions": [], "tool_choice": "none", "parallel_tool_calls": False},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"seed": None, "invented": None},
    ],
)
def test_what_changes_nothing_is_left_out(given: dict[str, Any]) -> None:
    assert translated(**given) == translated()


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"seed": 7}, "seed"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"store": True}, "store"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"verbosity": "low"}, "verbosity"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"response_format": {"type": "json_object"}}, "response_format.json_object"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": DESCRIBED, "description": "b"},
                }
            },
            "response_format.json_schema.description",
        ),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"response_format": {"type": "text", "x": 1}}, "response_format.x"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}, "x": 1}}, "response_format.x"),
        ({"stream_options": {"other": 1}}, "stream_options.other"),
        ({"stop": ["a", " \n"]}, "stop[1]"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(given: dict[str, Any], param: str) -> None:
    fault = refused(**given)

    assert fault.param == param
    assert "cannot be said to an Anthropic upstream (adapter: anthropic); " in fault.message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_tokens": 0}, "`max_tokens` must be a whole number of at least 1"),
        ({"max_tokens": True}, "`max_tokens` must be a whole number of at least 1"),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "`max_tokens` must be the same as `max_completion_tokens`, or left out",
        ),
        ({"temperature": -1}, "`temperature` must be a number that is not negative"),
        ({"temperature": True}, "`temperature` must be a number that is not negative"),
        ({"stream": "yes"}, "`stream` must be true or false"),
        ({"stop": 5}, "`stop` must be a list"),
        ({"stop": [5]}, "`stop[0]` must be a string"),
        ({"user": ""}, "`user` must be a string that is not empty"),
        ({"thinking": True}, "`thinking` must be an object"),
        ({"response_format": "json"}, "`response_format` must be an object"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "`response_format.json_schema.schema` must be an object",
        ),
        ({"messages": "Hello"}, "`messages` must be a list"),
        ({"messages": []}, "`messages` must be a list with at least one message of the user's"),
        ({"messages": [5]}, "`messages[0]` must be an object"),
    ],
)
def test_what_is_malformed_is_told_with_what_it_must_be(given: dict[str, Any], message: str) -> None:
    assert refused(**given).message == message


def test_advice_says_what_to_do_instead() -> None:
    assert refused(n=3).message == (
        "`n` cannot be said to an Anthropic upstream (adapter: anthropic); leave it out (or at 1)"
    )
    assert refused(functions=[{"name": "f"}]).message.endswith("; use `tools`")
    assert refused(reasoning_effort="minimal").message.endswith("; there it is none, low, medium, high, xhigh or max")


def test_a_name_that_somebody_made_up_is_repeated_in_part_only() -> None:
    inside = {"response_format": {"type": "text", "x" * 5000: 1}}

    assert refused(**{"x" * 5000: 1}).param == "x" * 100
    assert refused(**inside).param == "response_format." + "x" * 100


# ---- whatever the JSON holds ----

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
Path = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in inner:
        yield from paths(member, (*path, name))


def answered(body: bytes) -> bool:
    """Tell whether *body* is translated; a refusal must name a field."""
    try:
        told = request(body, model="claude-x", max_tokens=4096)
    except Untranslatable as fault:
        refusal = fault
    else:
        assert told.startswith(b'{"model":"claude-x","max_tokens":')
        return True
    assert refusal.param
    assert refusal.message
    return False


@given(path=st.sampled_from(list(paths(WHOLE))), value=ANYTHING, name=st.text(max_size=5))
def test_a_request_with_anything_anywhere_is_translated_or_refused(path: Path, value: Any, name: str) -> None:
    changed: Any = {"body": copy.deepcopy(WHOLE)}
    *to, last = ("body", *path)
    place = changed
    for step in to:
        place = place[step]
    place[last] = {**place[last], name: value} if isinstance(place[last], dict) and name else value

    answered(json.dumps(changed["body"]).encode())


@given(ANYTHING)
def test_any_json_is_translated_or_refused(value: Any) -> None:
    answered(json.dumps(value).encode())
    answered(json.dumps({"messages": value}).encode())


@given(st.binary(max_size=50))
@example(b"")
@example(b'{"messages":"\xff"}')
@example(b'{"messages":"\\ud800"}')
@example(b'{"messages":1e999}')
@example(b"[" * 100_000)
def test_any_bytes_are_refused_with_a_sentence(body: bytes) -> None:
    assert not answered(body)


def test_what_is_nested_deeply_is_translated_or_refused() -> None:
    part = {**text("rain"), "cache_control": {"deep": "HERE"}}  # where it goes is deeper than where it came from
    whole = json.dumps({"messages": [{"role": "tool", "tool_call_id": "call_1", "content": [part]}]}).encode()

    went = [
        answered(whole.replace(b'"HERE"', b'{"a":' * depth + b"1" + b"}" * depth))
        for depth in (10, *range(800, 1010), 100_000)  # through where reading still goes and writing does not any more
    ]

    assert went[0]
    assert not went[-1]


@pytest.mark.parametrize("filler", [b"{},", b"[],", b"1,"])
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(filler: bytes) -> None:
    body = b'{"model":"m","messages":[' + filler * 1_100_000 + b"{}]}"

    with pytest.raises(Untranslatable, match="too many parts") as refused:
        request(body, model="m", max_tokens=1)

    assert refused.value.param == "body"
