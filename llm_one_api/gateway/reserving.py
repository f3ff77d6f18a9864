"""How much a call reserves of its limits, from its bytes alone: no tokenizer is asked before a call.

What it used in the end takes the place of it, so this only has to be seldom too low, and not much too high.
"""

from __future__ import annotations

import re

import msgspec

from llm_one_api.dialects.asked import Asked
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.observed import Observed
from llm_one_api.values import Target

DATA_TOKENS = 1000
"""For an image, a recording or a file, however long it is: providers count pixels, seconds and pages, and not bytes."""
_CHARACTERS_PER_TOKEN = 4
_LONG = DATA_TOKENS * _CHARACTERS_PER_TOKEN
"""Data shorter than this is counted as text is."""
_MOST_LOOKS = 500
_DATA_URL, _DATA = b";base64,", b'"data"'
_VALUE = re.compile(rb'\s*:\s*"')
_ONE_OR_MANY = msgspec.json.Decoder(list[msgspec.Raw])


def input_tokens(endpoint: Endpoint, body: bytes) -> int:
    """Estimate the tokens of what is sent; 0 where they are not counted.

    A token for four characters of ASCII, and one for each other character (of an alphabet, whose letters take two
    bytes: for two). The names and signs of JSON make up for what chats have in tokens beside their texts.
    """
    if not endpoint.counts:
        return 0
    size, pieces = len(body), 0
    if size > _LONG:
        packed, pieces = _data(body)
        size -= packed
    wide = 0 if body.isascii() else (len(body) - len(body.decode(errors="replace"))) // 2
    return wide + max(0, size - 3 * wide) // _CHARACTERS_PER_TOKEN + 1 + pieces * DATA_TOKENS


def output_tokens(asked: Asked, endpoint: Endpoint, target: Target, observed: Observed) -> int:
    """Tell the most that may be put out, for all answers together; what is usual where nothing limits an answer."""
    if not endpoint.counts_output:
        return 0
    most = _asked_for(asked, endpoint)
    if most is None:
        upstream = target.upstream
        is_told = upstream.adapter == "anthropic" and endpoint.name == "chat"
        most = upstream.default_max_tokens if is_told else observed.usual(target.model)
    if target.max_output_tokens is not None:
        most = min(most, target.max_output_tokens)
    return most * _answers(asked, endpoint)


def _asked_for(asked: Asked, endpoint: Endpoint) -> int | None:
    """Give what the caller wants at most in an answer: of two figures the larger, for who knows which is obeyed."""
    if endpoint.name == "responses":
        return asked.max_output_tokens
    if asked.max_tokens is None or asked.max_completion_tokens is None:
        return asked.max_tokens or asked.max_completion_tokens
    return max(asked.max_tokens, asked.max_completion_tokens)


def _answers(asked: Asked, endpoint: Endpoint) -> int:
    """Count the answers that are made."""
    if endpoint.name not in {"chat", "completions"}:
        return 1
    return max(asked.n or 1, asked.best_of or 1) * _prompts(bytes(asked.prompt))


def _prompts(prompt: bytes) -> int:
    """Count the prompts of a completion: a list is one for each text or list of tokens in it, and one of tokens one."""
    if not prompt.startswith(b"["):
        return 1
    many = _ONE_OR_MANY.decode(prompt)
    return max(1, sum(bytes(one)[:1] in {b'"', b"["} for one in many))


def _data(body: bytes) -> tuple[int, int]:
    """Find long base64 data, of data URLs and of members called `data`: how many bytes in all, and how many pieces."""
    spans: dict[int, int] = {}
    for mark in (_DATA_URL, _DATA):
        at, looks = body.find(mark), 0
        while at >= 0 and looks < _MOST_LOOKS:
            looks += 1
            start = at + len(mark)
            value = _VALUE.match(body, start) if mark is _DATA else None
            if value is not None:
                start = value.end()
            end = body.find(b'"', start)
            if end - start > _LONG and body.find(b" ", start, end) < 0:
                spans[end] = end - start
            at = body.find(mark, max(start, end))
    return sum(spans.values()), len(spans)
