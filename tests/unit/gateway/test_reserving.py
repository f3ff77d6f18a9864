"""How much a call reserves, held against tiktoken's own counts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.dialects.asked import read_request
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.observed import UNTIL_KNOWN, Observed
from llm_one_api.gateway.reserving import DATA_TOKENS, input_tokens, output_tokens
from llm_one_api.targets import Adapter, Target, Upstream
from llm_one_api.tokens.encodings import load
from tests.unit.tokens.texts import TEXTS

ROWS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
UNUSUAL = {
    # Nobody could tell by bytes alone: a vocabulary has words for long rows of blanks, and few for noise.
    "spaces", "empty lines", "marks", "base64", "emoji that are joined", "one letter",
    # Scripts that o200k_base has words for, unlike cl100k_base: taken in between.
    "Hindi", "Thai", "Russian", "Arabic", "many emoji",
}  # fmt: skip
FRAME = 30
"""Tokens that a chat of one message may be taken for beside its text."""


def body(content: Any, *, ascii_only: bool = False, compact: bool = True) -> bytes:
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    return json.dumps(chat, ensure_ascii=ascii_only, separators=(",", ":") if compact else None).encode()


def estimate(content: Any, **how: bool) -> int:
    return input_tokens(ROWS["chat"], body(content, **how))


def counted(text: str) -> int:
    return 7 + len(load("o200k_base").encode(text, disallowed_special=()))


@pytest.mark.parametrize("kind", sorted(TEXTS.keys() - UNUSUAL))
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("compact", [False, True])
def test_a_text_is_taken_for_about_what_it_comes_to(kind: str, ascii_only: bool, compact: bool) -> None:
    tokens = counted(TEXTS[kind])

    estimated = estimate(TEXTS[kind], ascii_only=ascii_only, compact=compact)

    assert 0.8 * tokens <= estimated <= 2 * tokens + FRAME


@pytest.mark.parametrize("kind", sorted(UNUSUAL))
def test_a_text_of_an_unusual_kind_is_not_taken_for_next_to_nothing(kind: str) -> None:
    assert estimate(TEXTS[kind]) >= 0.4 * counted(TEXTS[kind])


def test_long_chats_are_taken_for_what_they_come_to_by_a_part_of_them() -> None:
    for text in (TEXTS["long Chinese"] * 60, TEXTS["this file"] * 150, TEXTS["long English"] * 20):
        tokens = counted(text)

        assert 0.9 * tokens <= estimate(text) <= 2 * tokens
        assert 0.9 * tokens <= estimate(text, ascii_only=True) <= 2 * tokens


DATA = base64.b64encode(bytes(range(256)) * 4000).decode()
"""A picture of one megabyte, say."""
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}}
ANTHROPICS = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}


@pytest.mark.parametrize("part", [IMAGE, AUDIO, FILE, ANTHROPICS], ids=lambda part: part["type"])
@pytest.mark.parametrize("compact", [False, True])
def test_data_counts_the_same_however_long_it_is(part: Any, compact: bool) -> None:
    alone = estimate([part], compact=compact)
    several = estimate([{"type": "text", "text": TEXTS["long English"]}, part, part], compact=compact)

    assert DATA_TOKENS <= alone <= DATA_TOKENS + 100
    assert 2 * DATA_TOKENS + 4000 <= several <= 2 * DATA_TOKENS + 6000


@pytest.mark.parametrize(
    "text",
    [f";base64,{'so it goes on and on ' * 2000}", DATA, f"see data:image/png;base64, {DATA}", '"data":"' + DATA],
    ids=["words", "no name", "a blank", "in a text"],
)
def test_text_that_looks_like_data_counts_as_text(text: str) -> None:
    assert estimate(text) >= len(text) // 4


def test_a_text_cannot_pass_for_data() -> None:
    words, noise = "so,it,goes,on,and,on," * 2000, "data:text/plain;base64," + DATA[:50_000]
    named = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words}}

    assert estimate([named]) >= len(words) // 4
    assert estimate(noise) >= len(noise) // 4
    assert estimate([{"type": "text", "text": noise}]) >= len(noise) // 4
    assert estimate([{"type": "document", "source": {"type": "text", "data": "\u4e2d" * 3000}}]) >= 2500


def test_short_data_counts_as_text() -> None:
    assert estimate([{"type": "input_audio", "input_audio": {"data": DATA[:1000]}}]) < DATA_TOKENS


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_bytes_there_are_an_estimate_is_made(piece: bytes, times: int) -> None:
    assert 0 < input_tokens(ROWS["chat"], piece * times) <= 2 * len(piece) * times + 1


@given(st.text(), st.text())
def test_a_longer_text_never_comes_to_less(text: str, more: str) -> None:
    assert estimate(text + more) >= estimate(text)


@pytest.mark.parametrize(
    "name", ["response", "count_tokens", "image_edits", "image_variations", "transcriptions", "translations"]
)
def test_where_the_input_is_not_counted_nothing_is_reserved_for_it(name: str) -> None:
    assert input_tokens(ROWS[name], body("hello")) == 0


@pytest.mark.parametrize("name", ["embeddings", "images", "speech", "moderations", "rerank", "response"])
def test_where_no_output_is_counted_nothing_is_reserved_for_it(name: str) -> None:
    assert output_tokens(read_request(b'{"max_tokens":5,"n":3}'), ROWS[name], target(), Observed(default=9)) == 0


def target(most: int | None = None, adapter: Adapter = "openai") -> Target:
    upstream = Upstream(name="u", base_url="http://u", adapter=adapter, default_max_tokens=700)
    return Target(model="m", upstream_model="m", upstream=upstream, max_output_tokens=most)


def output(asked: str, endpoint: str = "chat", most: int | None = None, *, adapter: Adapter = "openai") -> int:
    return output_tokens(read_request(asked.encode()), ROWS[endpoint], target(most, adapter), Observed(default=None))


@pytest.mark.parametrize(
    ("asked", "endpoint", "tokens"),
    [
        ('{"max_tokens":5}', "chat", 5),
        ('{"max_completion_tokens":5}', "chat", 5),
        ('{"max_tokens":5,"max_completion_tokens":50}', "chat", 50),
        ('{"max_tokens":5,"n":3}', "chat", 15),
        ('{"max_tokens":5,"n":null}', "chat", 5),
        ('{"n":3}', "chat", 3 * UNTIL_KNOWN),
        ("{}", "chat", UNTIL_KNOWN),
        ('{"max_output_tokens":5}', "responses", 5),
        ('{"max_tokens":5,"n":3}', "responses", UNTIL_KNOWN),
        ('{"max_output_tokens":5}', "chat", UNTIL_KNOWN),
        ('{"max_tokens":5}', "messages", 5),
        ('{"max_tokens":5,"n":3}', "messages", 5),
        ('{"max_completion_tokens":5}', "messages", UNTIL_KNOWN),
        ('{"max_completion_tokens":5}', "completions", UNTIL_KNOWN),
        ('{"max_tokens":5,"n":2,"best_of":4}', "completions", 20),
        ('{"max_tokens":5,"n":2,"prompt":"a"}', "completions", 10),
        ('{"max_tokens":5,"n":2,"prompt":["a","b", "c"]}', "completions", 30),
        ('{"max_tokens":5,"prompt":["a"]}', "completions", 5),
        ('{"max_tokens":5,"prompt":[1,2,3]}', "completions", 5),
        ('{"max_tokens":5,"prompt":[[1,2],[3]]}', "completions", 10),
        ('{"max_tokens":5,"prompt":[]}', "completions", 5),
        ('{"max_tokens":5,"prompt":null}', "completions", 5),
        ("{}", "transcriptions", UNTIL_KNOWN),
    ],
)
def test_as_much_output_is_reserved_as_may_come(asked: str, endpoint: str, tokens: int) -> None:
    assert output(asked, endpoint) == tokens


@pytest.mark.parametrize(
    ("asked", "tokens"), [('{"max_tokens":5}', 5), ('{"max_tokens":5000}', 100), ("{}", 100), ('{"n":3}', 300)]
)
def test_a_model_that_puts_out_no_more_reserves_no_more(asked: str, tokens: int) -> None:
    assert output(asked, most=100) == tokens


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [
        (["a"] * 60_000, 60_000),
        (["a"] * 40_000, 40_000),
        ([[1, 2, 3]] * 30_000, 30_000),
        ([1] * 60_000, 1),
        (["a, " * 60_000], 1),
    ],
    ids=["very many", "many", "tokens each", "tokens", "a long one"],
)
def test_each_of_many_prompts_is_answered(prompt: Any, answers: int) -> None:
    asked = json.dumps({"prompt": prompt, "max_tokens": 2})

    assert output(asked, "completions") == 2 * answers


def test_no_call_asks_for_more_than_can_be_counted() -> None:
    prompts = ",".join(['"a"'] * 100_000)

    assert output(f'{{"max_tokens":2147483648,"n":128,"prompt":[{prompts}]}}', "completions") == 10**12


def test_a_translated_chat_reserves_what_its_upstream_is_told() -> None:
    assert output("{}", adapter="anthropic") == 700
    assert output('{"max_tokens":5}', adapter="anthropic") == 5
    assert output("{}", "messages", adapter="anthropic") == UNTIL_KNOWN


def test_what_a_model_usually_puts_out_is_reserved_where_nothing_is_asked_for() -> None:
    observed = Observed(default=None)
    for _ in range(20):
        observed.saw("m", 40)

    assert output_tokens(read_request(b"{}"), ROWS["chat"], target(), observed) == 40
