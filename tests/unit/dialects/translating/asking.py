"""What the tests of requests have in common: a request of a caller's, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_one_api.dialects.translating.anthropic import Untranslatable, request

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def translated(**members: Any) -> dict[str, Any]:
    """Give the request that goes upstream."""
    body = json.dumps({"model": "chat", "messages": HELLO, **members}).encode()
    told: dict[str, Any] = json.loads(request(body, model="claude-x", max_tokens=4096))
    return told


def said(*messages: dict[str, Any]) -> list[Any]:
    """Give the turns that go upstream."""
    turns: list[Any] = translated(messages=list(messages))["messages"]
    return turns


def refused(**members: Any) -> Untranslatable:
    """Give what the caller is told."""
    with pytest.raises(Untranslatable) as caught:
        translated(**members)
    assert f"`{caught.value.param}`" in caught.value.message
    return caught.value
