"""The figures that are written out in `cases/estimates.py` are tiktoken's own."""

from __future__ import annotations

from typing import Any

import pytest

from llm_one_api.conformance.cases import estimates
from llm_one_api.tokens.encodings import Name, load


def count(name: Name, text: str) -> int:
    return len(load(name).encode(text))


def framed(name: Name, messages: list[dict[str, Any]]) -> int:
    """Count a chat as OpenAI's cookbook does."""
    return 3 + sum(3 + sum(count(name, value) for value in message.values()) for message in messages)


@pytest.mark.parametrize(
    ("name", "messages", "answer", "prompt", "completion"),
    [
        ("o200k_base", estimates.HELLO, "Hello there.", 10, 3),
        ("o200k_base", estimates.MIXED, estimates.CODE, 24, 18),
        ("cl100k_base", estimates.MIXED, estimates.CODE, 32, 19),
        ("o200k_base", estimates.HELLO, " word" * 20_000, 10, 20_000),
    ],
)
def test_chats_come_to_what_the_cases_expect(
    name: Name, messages: list[dict[str, Any]], answer: str, prompt: int, completion: int
) -> None:
    assert (framed(name, messages), count(name, answer)) == (prompt, completion)


def test_texts_come_to_what_the_cases_expect() -> None:
    assert [count("o200k_base", text) for text in ("Say hello.", "Hello there.")] == [3, 3]
