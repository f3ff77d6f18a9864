"""Streams of an Anthropic upstream, as OpenAI clients read them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from llm_one_api.dialects import sse
from tests.unit.dialects.translating.streaming import (
    CREATED,
    DONE,
    PING,
    STOP,
    begin,
    chunks,
    delta,
    deltas,
    end,
    event,
    finish,
    said,
    start,
    stream,
)

ROLE = {"role": "assistant", "content": "", "refusal": None}
EVENTS = [
    start(cache_read_input_tokens=4, cache_creation_input_tokens=2),
    PING,
    begin(0, "thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="The user greets."),
    delta(0, "signature_delta", signature="c2ln"),
    end(0),
    begin(1, "redacted_thinking", data="ZGF0YQ"),
    end(1),
    begin(2, "text", text=""),
    said(2, "你好"),
    said(2, ' "W"\n'),
    end(2),
    begin(3, "tool_use", id="toolu_1", name="f", input={}),
    delta(3, "input_json_delta", partial_json=""),
    delta(3, "input_json_delta", partial_json='{"a": '),
    delta(3, "input_json_delta", partial_json='"\\n"}'),
    end(3),
    begin(4, "tool_use", id="toolu_2", name="g", input={}),
    delta(4, "input_json_delta", partial_json=""),
    end(4),
    finish("tool_use"),
    STOP,
]
USAGE = {
    "prompt_tokens": 16,
    "completion_tokens": 7,
    "total_tokens": 23,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
}


def call(position: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": position, "function": function}]}


def begun(position: int, name: str, function: str) -> dict[str, Any]:
    told = {"index": position, "id": name, "type": "function", "function": {"name": function, "arguments": ""}}
    return {"tool_calls": [told]}


def test_a_whole_stream_becomes_chunks() -> None:
    out = stream().feed(b"".join(EVENTS))

    assert deltas(out) == [
        ROLE,
        {"reasoning_content": "The user greets."},
        {"content": "你好"},
        {"content": ' "W"\n'},
        begun(0, "toolu_1", "f"),
        call(0, arguments='{"a": '),
        call(0, arguments='"\\n"}'),
        begun(1, "toolu_2", "g"),
        call(1, arguments="{}"),
    ]
    *told, last, done = chunks(out)
    assert done is None
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert {chunk["choices"][0]["finish_reason"] for chunk in told} == {None}
    for chunk in (*told, last):
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("msg_1", CREATED, "claude-x-2026")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.sets(st.integers(1, len(EVENTS) - 1)))
def test_how_a_stream_is_cut_into_batches_never_matters(line_end: bytes, cuts: set[int]) -> None:
    events = [event.replace(b"\n", line_end) for event in EVENTS]
    translation = stream(include_usage=True)

    out = [translation.feed(b"".join(events[a:b])) for a, b in pairwise([0, *sorted(cuts), len(events)])]

    assert b"".join(out) == stream(include_usage=True).feed(b"".join(EVENTS))


def test_usage_comes_last_to_who_asked_for_it() -> None:
    *before, usage, done = chunks(stream(include_usage=True).feed(b"".join(EVENTS)))

    assert done is None
    assert usage["choices"] == []
    assert usage["usage"] == USAGE
    assert not any("usage" in chunk for chunk in before)
    told = ChatCompletionChunk.model_validate(usage).usage
    assert told
    assert told.prompt_tokens_details
    assert told.prompt_tokens_details.cached_tokens == 4


def test_figures_are_of_all_so_far_and_the_last_ones_hold() -> None:
    final = event(
        "message_delta", delta={}, usage={"input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": None}
    )

    out = stream(include_usage=True).feed(start(cache_read_input_tokens=4) + finish("end_turn", 8) + final + STOP)

    usage = chunks(out)[-2]["usage"]
    assert usage["prompt_tokens"] == 16
    assert (usage["completion_tokens"], usage["total_tokens"]) == (9, 25)


def test_usage_that_was_not_told_is_not_made_up() -> None:
    out = stream(include_usage=True).feed(said(0, "Hi.") + STOP)

    assert deltas(out) == [{"content": "Hi."}]
    assert chunks(out)[-1] is None
    assert chunks(out)[0]["model"] == "claude-x"


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "stop"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("of tomorrow", "stop"),
    ],
)
def test_why_it_ended_is_told_once_in_openais_words(reason: str, finish_reason: str) -> None:
    out = stream().feed(start() + finish(None) + finish(reason) + finish(reason) + STOP)

    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks(out)[:-1]] == [None, finish_reason]


def test_a_refusal_is_explained() -> None:
    out = stream().feed(start() + finish("refusal", stop_details={"type": "refusal", "explanation": "It may harm."}))

    assert chunks(out)[-1]["choices"] == [
        {"index": 0, "delta": {"refusal": "It may harm."}, "finish_reason": "content_filter"}
    ]


def test_arguments_that_come_all_at_once_are_handed_on() -> None:
    block = begin(0, "tool_use", id="toolu_1", name="f", input={"a": [1, None]})

    out = stream().feed(start() + block + end(0))

    assert deltas(out)[1:] == [begun(0, "toolu_1", "f"), call(0, arguments='{"a": [1, null]}')]


def test_texts_that_a_block_begins_with_are_handed_on() -> None:
    out = stream().feed(begin(0, "text", text="Hi.") + begin(1, "thinking", thinking="Hm."))

    assert deltas(out) == [{"content": "Hi."}, {"reasoning_content": "Hm."}]


def test_calls_are_counted_by_themselves_and_those_of_anthropics_own_tools_are_not_told() -> None:
    own = [
        begin(0, "server_tool_use", id="srvtoolu_1", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query": "x"}'),
        end(0),
        begin(1, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
        end(1),
        delta(2, "citations_delta", citation={"type": "web_search_result_location"}),
    ]
    theirs = [
        begin(3, "tool_use", id="toolu_1", name="f", input={}),
        begin(5, "tool_use", id="toolu_2", name="g", input={}),
        delta(5, "input_json_delta", partial_json="{}"),
        delta(3, "input_json_delta", partial_json="[]"),
        end(3),
        end(5),
    ]

    out = stream().feed(b"".join([*own, *theirs]))

    assert deltas(out) == [
        begun(0, "toolu_1", "f"),
        begun(1, "toolu_2", "g"),
        call(1, arguments="{}"),
        call(0, arguments="[]"),
    ]


@pytest.mark.parametrize(
    "strange",
    [
        PING,
        b": a comment\n\n",
        b"event: content_block_delta\n\n",
        b"data: nope\n\n",
        b"data: []\n\n",
        b'data: {"type":5}\n\n',
        b'data: "\xff"\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        event("of_tomorrow", index=0),
        event("content_block_delta", index=0),
        event("content_block_start", index=0),
        delta(0, "delta_of_tomorrow", text=5),
        begin(0, "block_of_tomorrow"),
        end(9),
    ],
)
def test_what_is_not_known_is_passed_over(strange: bytes) -> None:
    translation = stream()
    translation.feed(start())

    assert translation.feed(strange) == b""
    assert deltas(translation.feed(said(0, "on"))) == [{"content": "on"}]


# ---- errors ----

OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"}, request_id="req_1")


def test_an_error_is_told_in_openais_shape_and_nothing_follows() -> None:
    translation = stream(include_usage=True)

    out = translation.feed(start() + said(0, "a") + OVERLOADED + said(0, "b") + STOP)

    assert chunks(out)[-1] == {
        "error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None}
    }
    assert deltas(out[: out.index(b'data: {"error"')]) == [ROLE, {"content": "a"}]
    assert translation.feed(STOP) == b""


@pytest.mark.parametrize(
    "odd", [event("error", error="boom"), event("error", message="boom"), b'data: {"error":{"code":5}}\n\n']
)
def test_an_error_that_cannot_be_read_is_one_all_the_same(odd: bytes) -> None:
    told = chunks(stream().feed(odd + said(0, "on")))

    assert told == [
        {"error": {"message": "The upstream broke off its answer.", "type": "api_error", "param": None, "code": None}}
    ]


def test_nothing_follows_the_end() -> None:
    translation = stream()

    assert translation.feed(STOP).endswith(DONE)
    assert translation.feed(said(0, "late")) == b""


# ---- the official SDK ----


def client(body: bytes) -> openai.OpenAI:
    """Make a client whose every request is answered with the stream *body*."""
    answer = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})
    )
    return openai.OpenAI(api_key="sk-test", base_url="http://gateway/v1", http_client=httpx2.Client(transport=answer))


def test_the_official_sdk_puts_a_stream_together() -> None:
    with (
        client(stream(include_usage=True).feed(b"".join(EVENTS))) as sdk,
        sdk.chat.completions.stream(
            model="chat", messages=[{"role": "user", "content": "Hi"}], stream_options={"include_usage": True}
        ) as answer,
    ):
        completion = answer.get_final_completion()

    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == '你好 "W"\n'
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()] == [
        ("toolu_1", "f", '{"a": "\\n"}'),
        ("toolu_2", "g", "{}"),
    ]
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls or ()] == [{"a": "\n"}, {}]
    assert completion.usage
    assert completion.usage.total_tokens == 23


def test_the_official_sdk_raises_on_an_error_midway() -> None:
    with client(stream().feed(start() + said(0, "a") + OVERLOADED)) as sdk:
        answer = sdk.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi"}], stream=True)

        with pytest.raises(openai.APIError, match="Overloaded"):
            list(answer)


def test_an_event_is_written_on_one_line() -> None:
    out = stream().feed(start() + begin(0, "tool_use", id="a\nb", name="f", input={}) + said(1, "a\r\nb\u2028"))

    assert all(event.count(b"\n") == 2 for event in sse.events(out))
    assert b"\r" not in out
