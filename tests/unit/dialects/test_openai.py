"""What is believed of an answer, and what is not."""

from __future__ import annotations

import json

import pytest

from llm_one_api.dialects import asked
from llm_one_api.dialects.dialect import LONGEST_USAGE
from llm_one_api.dialects.openai_chat import CHAT


@pytest.mark.parametrize("inner", ["[" * 500 + "]" * 500, json.dumps("x" * LONGEST_USAGE)])
def test_a_usage_object_that_could_not_be_read_again_everywhere_is_not_kept(inner: str) -> None:
    told = CHAT.read_answer(b'{"model":"m","usage":{"total_tokens":3,"x":%b}}' % inner.encode())

    assert told
    assert (told.usage_raw, told.model) == (None, "m")


def test_words_that_a_record_keeps_are_cut_to_a_sane_length() -> None:
    word = "w" * 5000
    answer = {"model": word, "service_tier": word, "choices": [{"finish_reason": word}]}

    told = CHAT.read_answer(json.dumps(answer).encode())

    assert told
    assert {len(told.model or ""), len(told.service_tier or ""), len(told.finish_reason or "")} == {200}


def test_the_two_ends_of_a_long_answer_tell_what_its_whole_would() -> None:
    vectors = {
        "object": "list",
        "data": [{"embedding": [0.5] * 1000, "text": 'a trap: "usage": {"total_tokens": 1}'}] * 100,
        "model": "m-large",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    text = json.dumps(vectors, indent=1).encode()

    told = CHAT.read_ends(text[:65536], text[-65536:])

    assert told
    assert (told.model, told.usage_raw) == ("m-large", {"prompt_tokens": 9, "total_tokens": 9})


def test_the_model_of_a_long_chat_stands_at_its_front() -> None:
    chat = {
        "model": "m-chat",
        "choices": [{"message": {"content": "x" * 300_000}, "finish_reason": "length"}],
        "usage": {"total_tokens": 4},
    }
    text = json.dumps(chat).encode()

    told = CHAT.read_ends(text[:65536], text[-65536:])

    assert told
    assert (told.model, told.finish_reason, told.usage_raw) == ("m-chat", "length", {"total_tokens": 4})


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","MODEL":"dear"}',
        b'{"model":"m","Stream":true}',
        b'{"model":"m","model":"dear"}',
        b'{"mod\\u0065l":"dear","model":"m"}',
    ],
)
def test_a_field_that_another_parser_might_read_otherwise_does_not_go_upstream(body: bytes) -> None:
    assert not asked.is_plain(body)

    sent = json.loads(asked.rewrite(body, model="m"))

    assert sent == {"model": "m"}


def test_a_nested_model_or_one_in_a_text_is_nobody_elses_and_stays() -> None:
    body = b'{"model":"m","metadata":{"model":"x"},"messages":[{"content":"\\"MODEL\\": 1"}]}'

    assert json.loads(asked.rewrite(body)) == json.loads(body)
