from __future__ import annotations

import base64
import http.client
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from llm_one_api import settings
from llm_one_api.cli import up
from llm_one_api.cli.demo_upstream import Server, listen


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with Server(listen()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def client(port: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as client:
        yield client


def post(port: int, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_chat_says_that_it_is_the_demo_and_counts_words(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "one two three"}])

    text = answer.choices[0].message.content
    assert text is not None
    assert "demo upstream" in text
    assert text.endswith("You said: one two three")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3
    assert answer.usage.completion_tokens == len(text.split())
    assert answer.usage.total_tokens == 3 + len(text.split())
    assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_chat_is_the_same_text_with_usage_at_its_end_when_asked(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": [{"type": "text", "text": "parts count too"}]}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("You said: parts count too")
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 3
    assert chunks[-1].usage.completion_tokens == len(text.split())


def test_a_stream_that_did_not_ask_gets_no_usage(client: openai.OpenAI) -> None:
    stream = client.completions.create(model="demo", prompt="hi", stream=True, max_tokens=3)
    chunks = list(stream)

    assert "".join(chunk.choices[0].text for chunk in chunks) == "This is the"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)


def test_each_choice_is_counted(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt="hi there", n=2, max_tokens=5)

    assert len(answer.choices) == 2
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 10)


def test_embeddings_are_the_same_for_the_same_text_in_both_encodings(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(model="demo", input=["a b", "c"], encoding_format="float", dimensions=8)
    packed = client.embeddings.create(model="demo", input=["a b", "c"], encoding_format="base64", dimensions=8)

    assert plain.usage.prompt_tokens == 3
    for one, other in zip(plain.data, packed.data, strict=True):
        raw = other.embedding
        assert isinstance(raw, str)
        assert struct.unpack("<8f", base64.b64decode(raw)) == pytest.approx(one.embedding)


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]


@pytest.mark.parametrize(
    ("path", "body", "status", "hint"),
    [
        ("/v1/chat/completions", b"{", 400, "not JSON"),
        ("/v1/chat/completions", b"[]", 400, "not a JSON object"),
        ("/v1/chat/completions", b'{"messages": []}', 400, "messages"),
        ("/v1/chat/completions", b'{"messages": [{}], "n": 17}', 400, "'n'"),
        ("/v1/completions", b'{"prompt": "x", "max_tokens": "5"}', 400, "max_tokens"),
        ("/v1/embeddings", b'{"input": []}', 400, "input"),
        ("/v1/images", b"{}", 404, "/v1/images"),
    ],
)
def test_what_it_cannot_answer_is_refused_in_openais_shape(
    port: int, path: str, body: bytes, status: int, hint: str
) -> None:
    answered, error = post(port, path, body)

    assert answered == status
    assert hint in error["error"]["message"]


def test_wherever_it_listens_reports_call_it_by_one_name(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("auth: {default_auth: {api_keys: [sk-1]}}\n")

    with listen() as listening:
        found = settings.load(config, environ={"LLM_ONE_API__MODELS": up._demo_model(listening)})

    [upstream] = found.models["demo"].upstreams or ()
    assert upstream.name == "demo"
