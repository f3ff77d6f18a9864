"""What the demo upstream answers: OpenAI's shapes, made from the request alone. No I/O.

A token here is a word. The figures are true for that, and the answer says so.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from time import time
from typing import Any

Json = dict[str, Any]
Body = Mapping[str, Any]
Spoken = tuple[list[str], str, str]
"""The answer's words, why it ends, and what was said to it."""
MODEL = "demo"
MOST_CHOICES = 16
MOST_DIMENSIONS = 4096


class UnusableError(Exception):
    """The request cannot be answered; the message says why."""


def models() -> Json:
    """List the one model."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "llm-one-api"}]}


def chat(body: Body) -> Json:
    """Answer a chat in one piece."""
    words, reason, said = _spoken(body, _chat_text(body))
    message = {"role": "assistant", "content": "".join(words)}
    choice = {"message": message, "logprobs": None, "finish_reason": reason}
    return {
        **_head(body, "chatcmpl", "chat.completion"),
        "choices": _each(body, choice),
        "usage": _usage(body, said, words),
    }


def chat_events(body: Body) -> Iterator[Json]:
    """Answer a chat as events."""
    yield from _events(
        body, _head(body, "chatcmpl", "chat.completion.chunk"), _spoken(body, _chat_text(body)), _chat_delta
    )


def completion(body: Body) -> Json:
    """Answer a completion in one piece."""
    words, reason, said = _spoken(body, _strings(body.get("prompt", "")))
    choice = {"text": "".join(words), "logprobs": None, "finish_reason": reason}
    return {
        **_head(body, "cmpl", "text_completion"),
        "choices": _each(body, choice),
        "usage": _usage(body, said, words),
    }


def completion_events(body: Body) -> Iterator[Json]:
    """Answer a completion as events."""
    yield from _events(
        body, _head(body, "cmpl", "text_completion"), _spoken(body, _strings(body.get("prompt", ""))), _text_delta
    )


def embeddings(body: Body) -> Json:
    """Give each input a vector: always the same one for the same text, and without any meaning."""
    given = body.get("input", "")
    single = isinstance(given, str) or (isinstance(given, list) and all(isinstance(each, int) for each in given))
    inputs = [given] if single else list(given) if isinstance(given, list) else []
    if not inputs or not given:
        raise UnusableError("'input' must be a text, or a list of texts or of tokens")
    dimensions = _whole(body, "dimensions", 16, MOST_DIMENSIONS)
    vectors = [_vector(repr(each), dimensions) for each in inputs]
    packed = body.get("encoding_format") == "base64"
    tokens = sum(_count(each) for each in inputs)
    return {
        "object": "list",
        "model": str(body.get("model", MODEL)),
        "data": [
            {"object": "embedding", "index": i, "embedding": _packed(vector) if packed else vector}
            for i, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _spoken(body: Body, said: str) -> Spoken:
    """Make an answer to *said*."""
    last = said.strip().splitlines()[-1][:200] if said.strip() else "nothing"
    answer = (
        "This is the demo upstream of LLM One API, not a language model: name a real one under `models:` in the "
        f"config. It counts a word as a token. You said: {last}"
    )
    words = [word if i == 0 else f" {word}" for i, word in enumerate(answer.split())]
    most = _whole(body, "max_completion_tokens", _whole(body, "max_tokens", len(words), 2**31), 2**31)
    return (words, "stop", said) if len(words) <= most else (words[:most], "length", said)


def _chat_text(body: Body) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UnusableError("'messages' must be a list with at least one message")
    return "\n".join(_strings(each.get("content")) for each in messages if isinstance(each, dict))


def _strings(content: Any) -> str:
    """Take the text out of a string, a list of strings, or a list of content parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_strings(each.get("text") if isinstance(each, dict) else each) for each in content)
    return ""


def _chat_delta(word: str | None, first: bool) -> Json:
    delta: Json = {"role": "assistant", "content": word} if first else {} if word is None else {"content": word}
    return {"delta": delta, "logprobs": None}


def _text_delta(word: str | None, _first: bool) -> Json:
    return {"text": word or "", "logprobs": None}


def _events(body: Body, head: Json, spoken: Spoken, delta: Callable[[str | None, bool], Json]) -> Iterator[Json]:
    words, reason, said = spoken
    options = body.get("stream_options")
    wants_usage = isinstance(options, dict) and options.get("include_usage") is True
    extra: Json = {"usage": None} if wants_usage else {}
    for number, word in zip(count(), words, strict=False):
        yield {**head, "choices": _each(body, {**delta(word, number == 0), "finish_reason": None}), **extra}
    yield {**head, "choices": _each(body, {**delta(None, False), "finish_reason": reason}), **extra}
    if wants_usage:
        yield {**head, "choices": [], "usage": _usage(body, said, words)}


def _head(body: Body, prefix: str, kind: str) -> Json:
    return {
        "id": f"{prefix}-demo-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time()),
        "model": str(body.get("model", MODEL)),
        "system_fingerprint": "demo",
    }


def _each(body: Body, choice: Json) -> list[Json]:
    return [{"index": i, **choice} for i in range(_whole(body, "n", 1, MOST_CHOICES))]


def _usage(body: Body, said: str, words: list[str]) -> Json:
    prompt, answer = _count(said), len(words) * _whole(body, "n", 1, MOST_CHOICES)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _count(given: Any) -> int:
    return len(given) if isinstance(given, list) else len(str(given).split())


def _whole(body: Body, name: str, default: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= most:
        raise UnusableError(f"{name!r} must be a whole number from 1 to {most}")
    return value


def _vector(text: str, dimensions: int) -> list[float]:
    raw = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [(n - 32768) / 32768 for (n,) in struct.iter_unpack("<H", raw)]
    length = sum(n * n for n in numbers) ** 0.5 or 1.0
    return [n / length for n in numbers]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
