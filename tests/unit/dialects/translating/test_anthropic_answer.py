"""Answers and errors of an Anthropic upstream, as OpenAI clients read them."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from llm_one_api.dialects.translating.anthropic import answer, error
from tests.unit.dialects.translating.streaming import CREATED

USAGE = {"input_tokens": 10, "output_tokens": 7}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-2026",
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def translated(**members: Any) -> dict[str, Any]:
    """Give the completion that a message with *members* becomes."""
    message = MESSAGE | members
    anthropic.types.Message.model_validate(message)
    told: dict[str, Any] = json.loads(answer(json.dumps(message).encode(), model="claude-x", created=CREATED))
    ChatCompletion.model_validate(told)
    return told


def test_a_message_becomes_a_completion() -> None:
    assert translated() == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "claude-x-2026",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17},
    }


def test_blocks_become_what_openai_has_for_them() -> None:
    content = [
        {"type": "thinking", "thinking": "The user greets.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"},
        {"type": "text", "text": "Let me ", "citations": None},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "look."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": ["\n", None, 1.0]}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]

    (choice,) = translated(content=content, stop_reason="tool_use")["choices"]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me look.",
        "refusal": None,
        "reasoning_content": "The user greets.",
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a": ["\\n", null, 1.0]}'}},
            {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], ""),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}], None),
    ],
)
def test_who_calls_a_tool_without_a_word_has_no_content(content: list[Any], said: str | None) -> None:
    assert translated(content=content)["choices"][0]["message"]["content"] == said


def test_a_refusal_is_explained() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It may harm."}

    (choice,) = translated(content=[], stop_reason="refusal", stop_details=details)["choices"]

    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == "It may harm."


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
        (None, "stop"),
    ],
)
def test_why_it_ended_is_told_in_openais_words(reason: str | None, finish_reason: str) -> None:
    assert translated(stop_reason=reason)["choices"][0]["finish_reason"] == finish_reason


def test_a_reason_of_tomorrow_is_a_stop() -> None:
    told = json.loads(answer(json.dumps(MESSAGE | {"stop_reason": "x"}).encode(), model="m", created=1))

    assert told["choices"][0]["finish_reason"] == "stop"


# ---- usage ----


def test_the_input_includes_what_was_read_from_and_written_to_the_cache() -> None:
    usage = USAGE | {
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    }

    told = translated(usage=usage)["usage"]

    assert told == {
        "prompt_tokens": 160,
        "completion_tokens": 7,
        "total_tokens": 167,
        "prompt_tokens_details": {
            "cached_tokens": 100,
            "cache_write_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
        },
    }


@pytest.mark.parametrize(
    "usage", [None, {}, {"input_tokens": 5}, {"input_tokens": "5", "output_tokens": 7}, "many", [5]]
)
def test_usage_that_is_not_told_is_not_made_up(usage: Any) -> None:
    told = json.loads(answer(json.dumps(MESSAGE | {"usage": usage}).encode(), model="m", created=1))

    assert told["usage"] is None
    assert told["choices"][0]["message"]["content"] == "Hi."


@pytest.mark.parametrize(("tier", "told"), [("standard", "default"), ("priority", "priority"), ("batch", None)])
def test_the_tier_is_told_in_openais_words(tier: Any, told: str | None) -> None:
    body = json.dumps(MESSAGE | {"usage": USAGE | {"service_tier": tier}}).encode()

    assert json.loads(answer(body, model="m", created=1)).get("service_tier") == told


# ---- what is no message ----


def test_a_message_that_does_not_name_its_model_has_ours() -> None:
    body = b'{"type":"message","content":[]}'

    assert json.loads(answer(body, model="claude-x", created=1))["model"] == "claude-x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"type":"error","content":[]}',
        b'{"type":"message"}',
        b'{"type":"message","content":"Hi."}',
        b'{"type":"message","content":[{}]}',
        b'{"type":"message","content":[{"type":"text","text":5}]}',
        b'{"type":"message","content":[{"type":"text","text":"\xff"}]}',
        b'{"type":"message","content":[{"type":"tool_use","input":{"a":"\xff"}}]}',
        b'{"type":"message","content":[],"deep":' + b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_an_error_of_value(body: bytes) -> None:
    with pytest.raises(ValueError):
        answer(body, model="m", created=1)


@given(st.binary(max_size=100))
def test_an_error_is_always_told(body: bytes) -> None:
    assert json.loads(error(body, 500))["error"]["message"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}, "request_id": "req_1"},
            {"message": "model: x", "type": "not_found_error", "param": None, "code": None},
        ),
        (
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "m",
                    "details": {"error_code": "why"},
                },
            },
            {"message": "m", "type": "invalid_request_error", "param": None, "code": "why"},
        ),
        ({"error": {"message": "m"}}, {"message": "m", "type": "api_error", "param": None, "code": None}),
    ],
)
def test_an_error_is_handed_on_in_openais_shape(body: dict[str, Any], told: dict[str, Any]) -> None:
    assert json.loads(error(json.dumps(body).encode(), 400)) == {"error": told}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"error":"boom"}', b'{"error":{}}', b'{"deep":' + b"[" * 100_000]
)
@pytest.mark.parametrize(("status", "kind"), [(422, "invalid_request_error"), (529, "api_error")])
def test_an_error_that_cannot_be_read_is_told_by_its_status(body: bytes, status: int, kind: str) -> None:
    assert json.loads(error(body, status))["error"] == {
        "message": f"The upstream answered with status {status}.",
        "type": kind,
        "param": None,
        "code": None,
    }
