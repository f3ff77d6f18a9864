"""How much a call reserves of its limits, from its bytes alone: no tokenizer is asked before a call.

What it used in the end takes the place of it, so this only has to be seldom too low, and not much too high.
"""

from __future__ import annotations

import re

import msgspec

from llm_one_api.dialects.asked import Asked
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.observed import Observed
from llm_one_api.targets import Target

DATA_TOKENS = 1000
"""For an image, a recording or a file, however long it is: providers count pixels, seconds and pages, and not bytes."""
_MOST = 10**12
"""No call is taken for more: the store could not count it, and no limit that anybody sets has room for it."""
_LONG = 3500
"""Bytes: shorter data is counted as text is."""
_LARGE, _SLICES, _SLICE = 100_000, 16, 4096
"""Bytes: of a larger body so many slices, of so many bytes, tell how much of it is no ASCII."""
_HEAD = 100
"""Bytes: in them a data URL tells what it is, or stands the name before a string."""
_NAMED_DATA = re.compile(rb'"(?:data|file_data)"\s*:\s*"\Z')
_MANY = 50_000
_NAMED_TEXT = re.compile(rb'"(?:text|content|prompt|input|instructions|system|arguments|output)"\s*:\s*"\Z')
"""What a model reads letter by letter, whatever it begins with."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/=_\\-]*")
_ONE_OR_MANY = msgspec.json.Decoder(list[msgspec.Raw])


def input_tokens(endpoint: Endpoint, body: bytes) -> int:
    """Estimate the tokens of what is sent; 0 where they are not counted.

    Two tokens for seven bytes of ASCII, and nine for eight other characters (of an alphabet, whose letters have two
    bytes: for sixteen). The names and signs of JSON make up for what a chat's tokens are beside its texts.
    """
    if not endpoint.counts:
        return 0
    size, pieces = len(body), 0
    if size > _LONG:
        packed, pieces = _data(body)
        size -= packed
    sample = body if len(body) <= _LARGE else _slices(body)
    escaped = sample.count(b"\\u")
    wide = 0 if sample.isascii() else (len(sample) - len(sample.decode(errors="replace"))) // 2
    size -= (6 * escaped + 3 * wide) * len(body) // max(1, len(sample))
    wide = (escaped + wide) * len(body) // max(1, len(sample))
    return 1 + 2 * max(0, size) // 7 + 9 * wide // 8 + pieces * DATA_TOKENS


def _slices(body: bytes) -> bytes:
    return b"".join([body[at : at + _SLICE] for at in range(0, len(body) - _SLICE, len(body) // _SLICES)])


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
    return min(most * _answers(asked, endpoint), _MOST)


def _asked_for(asked: Asked, endpoint: Endpoint) -> int | None:
    """Give what the caller wants at most in an answer: of two figures the larger, for who knows which is obeyed."""
    if endpoint.name == "responses":
        return asked.max_output_tokens
    if endpoint.name != "chat":
        return asked.max_tokens  # the other is none of theirs, and nobody would obey it
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
    if prompt.count(b",") > _MANY:  # not worth to be taken apart: no more than these
        return max(1, prompt.count(b"[") - 1, prompt.count(b'"') // 2)
    many = _ONE_OR_MANY.decode(prompt)
    return max(1, sum(bytes(one)[:1] in {b'"', b"["} for one in many))


def _data(body: bytes) -> tuple[int, int]:
    """Find long base64 data, of data URLs and of members called `data`: how many bytes in all, and how many pieces.

    Data is a long string without blanks. Of texts, all that is looked for is a blank every now and then.
    """
    size = pieces = at = 0
    while at + _LONG <= len(body):
        last = max(body.rfind(b" ", at, at + _LONG), body.rfind(b'"', at, at + _LONG))
        if last >= 0:
            at = last + 1
        elif body[at - 1 : at] != b'"':
            at += _LONG
        else:
            end = body.find(b'"', at)
            if end >= 0 and _is_data(body, at, end):
                size += end - at
                pieces += 1
            at = end + 1 if end >= 0 else len(body)
    return size, pieces


def _is_data(body: bytes, at: int, end: int) -> bool:
    """Whether the long string from *at* to *end* is data: by its name or its beginning, and by a look at its middle."""
    name = body[max(0, at - _HEAD) : at]
    if _NAMED_TEXT.search(name) or not (b";base64," in body[at : at + _HEAD] or _NAMED_DATA.search(name)):
        return False
    middle = (at + end) // 2
    return _BASE64.fullmatch(body, middle, min(middle + _HEAD, end)) is not None
