"""Conversations of OpenAI clients, as Anthropic has them."""

from __future__ import annotations

from typing import Any

import pytest

from llm_one_api.dialects.translating.anthropic import request
from tests.unit.dialects.translating.asking import HELLO, PDF, PNG, refused, said, text, translated

USER = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Hi."}


def call(arguments: str = "{}", **members: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}, **members}


def calling(*calls: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **members}


def result(content: Any, name: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": name, "content": content}


# ---- whose turn it is ----


def test_what_the_system_says_in_front_is_no_turn() -> None:
    developer = {"role": "developer", "content": [text("In French."), text(" ")]}

    told = translated(messages=[SYSTEM, developer, USER])

    assert told["system"] == [text("Be brief."), text("In French.")]
    assert told["messages"] == [{"role": "user", "content": [text("Hello")]}]


def test_what_the_system_says_later_stays_where_it_is() -> None:
    told = translated(messages=[USER, SYSTEM, {**SYSTEM, "content": "Now."}, ANSWER, USER, SYSTEM])

    assert "system" not in told
    assert told["messages"] == [
        {"role": "user", "content": [text("Hello")]},
        {"role": "system", "content": [text("Be brief."), text("Now.")]},
        {"role": "assistant", "content": [text("Hi.")]},
        {"role": "user", "content": [text("Hello")]},
        {"role": "system", "content": [text("Be brief.")]},
    ]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, ANSWER, SYSTEM, USER], "messages[2]"),
        ([USER, ANSWER, SYSTEM], "messages[2]"),
        ([USER, ANSWER, {**SYSTEM, "content": ""}, SYSTEM, ANSWER], "messages[3]"),
        ([USER, SYSTEM, SYSTEM, USER], "messages[2]"),
        ([USER, SYSTEM, USER], "messages[1]"),
        ([USER, SYSTEM, {**ANSWER, "content": ""}, USER], "messages[1]"),
    ],
)
def test_where_anthropic_has_no_place_for_the_system_it_is_refused(messages: list[Any], param: str) -> None:
    fault = refused(messages=messages)

    assert fault.param == param
    assert "behind the user's and before the assistant's" in fault.message


def test_messages_of_one_role_in_a_row_are_one_turn() -> None:
    assert said(USER, {"role": "user", "content": "Are you there?"}, ANSWER, ANSWER) == [
        {"role": "user", "content": [text("Hello"), text("Are you there?")]},
        {"role": "assistant", "content": [text("Hi."), text("Hi.")]},
    ]


def test_results_of_tools_are_the_front_of_the_next_turn_of_the_user() -> None:
    turns = said(
        USER,
        calling(call('{"n": 1.0}'), call(id="call_2"), content="Let me see."),
        result("rain"),
        result([text("sun"), text("")], "call_2"),
        USER,
    )

    assert turns == [
        {"role": "user", "content": [text("Hello")]},
        {
            "role": "assistant",
            "content": [
                text("Let me see."),
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"n": 1.0}},
                {"type": "tool_use", "id": "call_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [text("rain")]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [text("sun")]},
                text("Hello"),
            ],
        },
    ]


# ---- what an assistant and its tools said ----


@pytest.mark.parametrize("arguments", ["", " ", "{}", "\n{ }"])
def test_a_call_without_arguments_has_none(arguments: str) -> None:
    turns = said(USER, calling(call(arguments)))

    assert turns[1]["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["[]", "1", "nope", '{"a":', '{"a":1}}', "null", '"{}"', "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    fault = refused(messages=[USER, calling(call(), call(arguments))])

    assert fault.param == "messages[1].tool_calls[1].function.arguments"
    assert fault.message.endswith("must be a string that holds a JSON object")


def test_arguments_are_given_back_to_the_digit() -> None:
    body = (
        b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","type":"function",'
        b'"function":{"name":"f","arguments":"{\\"n\\": 0.12345678901234567890, \\"m\\": 1e999}"}}]}]}'
    )

    assert b'"input":{"n": 0.12345678901234567890, "m": 1e999}' in request(body, model="m", max_tokens=1)


def test_a_tool_that_says_nothing_has_a_result_without_content() -> None:
    assert said(result("")) == [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1"}]}]


def test_a_refusal_is_what_the_assistant_said() -> None:
    turns = said(
        USER,
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}, text("Really.")]},
    )

    assert turns[1]["content"] == [text("No."), text("Never."), text("Really.")]


def test_an_assistant_that_said_nothing_leaves_no_turn() -> None:
    assert said(USER, {"role": "assistant", "content": ""}, {"role": "assistant"}, USER) == [
        {"role": "user", "content": [text("Hello"), text("Hello")]},
    ]


def test_an_answer_of_ours_can_be_given_back_as_it_came() -> None:
    came = {
        "role": "assistant", "content": "Hi.", "refusal": None, "annotations": [], "audio": None, "function_call": None,
        "tool_calls": [call(index=0)], "reasoning_content": "The user greets.",
    }  # fmt: skip

    assert said(USER, came)[1]["content"] == [
        text("Hi."),
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
    ]


# ---- parts ----


def source(url: str) -> Any:
    return said({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})[0]["content"][0]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.com/a.png?b=c,d", {"type": "url", "url": "https://example.com/a.png?b=c,d"}),
        ("HTTP://example.com/a", {"type": "url", "url": "HTTP://example.com/a"}),
        (PNG, {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}),
        ("data:image/JPG;base64,AAAA", {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}),
        ("data:image/webp;name=a;base64,AAAA", {"type": "base64", "media_type": "image/webp", "data": "AAAA"}),
    ],
)
def test_pictures_go_by_their_address_or_as_they_are(url: str, told: dict[str, Any]) -> None:
    assert source(url) == {"type": "image", "source": told}


@pytest.mark.parametrize("detail", ["auto", "low", "high", "original", None])
def test_how_closely_a_picture_is_looked_at_is_a_hint(detail: str | None) -> None:
    part = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}

    assert said({"role": "user", "content": [part]})[0]["content"] == [source(PNG)]


def test_a_pdf_is_a_document_with_its_name_as_title() -> None:
    part = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}

    assert said({"role": "user", "content": [part]})[0]["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="},
            "title": "a.pdf",
        }
    ]


def test_where_a_cache_ends_may_be_said_as_anthropic_does() -> None:
    cache = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    part = {**text("Hello"), **cache}

    told = translated(messages=[{"role": "system", "content": [part]}, {"role": "user", "content": [part, text("b")]}])

    assert told["system"] == [part]
    assert told["messages"][0]["content"] == [part, text("b")]


def user(part: Any) -> list[Any]:
    return [{"role": "user", "content": [text("a"), part]}]


IN = "messages[0].content[1]"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), f"{IN}.input_audio"),
        (user({"type": "file", "file": {"file_id": "file-1"}}), f"{IN}.file.file_id"),
        (user({"type": "file", "file": {"file_data": "data:text/csv;base64,AAAA"}}), f"{IN}.file.file_data"),
        (user({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}), f"{IN}.image_url.url"),
        (user({**text("a"), "prompt_cache_breakpoint": {"mode": "explicit"}}), f"{IN}.prompt_cache_breakpoint"),
        (user({**text("a"), "invented": 1}), f"{IN}.invented"),
        (user({"type": "image_url", "image_url": {"url": PNG, "invented": 1}}), f"{IN}.image_url.invented"),
        (user({"type": "file", "file": {"file_data": PDF, "invented": 1}}), f"{IN}.file.invented"),
        (
            [{**SYSTEM, "content": [{"type": "image_url", "image_url": {"url": PNG}}]}],
            "messages[0].content[0].image_url",
        ),
        ([{**USER, "name": "alice"}], "messages[0].name"),
        ([{**USER, "content": ""}], "messages[0].content"),
        ([{**USER, "content": [text(" \n")]}], "messages[0].content"),
        ([USER, {**ANSWER, "audio": {"id": "audio_1"}}], "messages[1].audio"),
        ([USER, {**ANSWER, "annotations": [{}]}], "messages[1].annotations"),
        ([USER, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}], "messages[1].function_call"),
        ([USER, {"role": "function", "name": "f", "content": "a"}], "messages[1]"),
        ([USER, calling({"id": "c", "type": "custom", "custom": {}})], "messages[1].tool_calls[0].custom"),
        ([USER, calling(call(extra=1))], "messages[1].tool_calls[0].extra"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_path(messages: list[Any], param: str) -> None:
    fault = refused(messages=messages)

    assert fault.param == param
    assert "cannot be said to an Anthropic upstream" in fault.message


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"content": "a"}], "`messages[0].role` must be a string"),
        ([{"role": "robot"}], "`messages[0].role` must be system, developer, user, assistant or tool"),
        ([{"role": "user"}], "`messages[0].content` must be a string or a list of parts"),
        ([{"role": "user", "content": {}}], "`messages[0].content` must be a string or a list of parts"),
        (user("a"), f"`{IN}` must be an object"),
        (user({"text": "a"}), f"`{IN}.type` must be a string that is not empty"),
        (user({"type": "text"}), f"`{IN}.text` must be a string"),
        (user({"type": "image_url", "image_url": PNG}), f"`{IN}.image_url` must be an object"),
        (
            user({"type": "image_url", "image_url": {"url": PNG, "detail": "best"}}),
            f"`{IN}.image_url.detail` must be auto, low, high or original",
        ),
        ([*HELLO, {"role": "tool", "content": "a"}], "`messages[1].tool_call_id` must be a string that is not empty"),
        ([USER, calling(call(id=""))], "`messages[1].tool_calls[0].id` must be a string that is not empty"),
    ],
)
def test_what_is_malformed_is_told_with_what_it_must_be(messages: list[Any], message: str) -> None:
    assert refused(messages=messages).message == message


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/b", "data:image/png,AAAA", "data:image/png;base64,", "blob:image/png;base64,AAAA", "iVBORw0KGgo="],
)
def test_a_picture_that_is_nowhere_is_refused(url: str) -> None:
    fault = refused(messages=user({"type": "image_url", "image_url": {"url": url}}))

    assert fault.param == f"{IN}.image_url.url"
