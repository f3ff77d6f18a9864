"""OpenAI's chat, completions and embeddings."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.models import OPENAI
from llm_one_api.conformance.scripts import DONE, Script, Step, encoded, event, stream, whole
from llm_one_api.values import Usage

MODEL = "scripted-2026-01-01"
"""What answers say has answered."""
CHAT = "/v1/chat/completions"
RAW = {"prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170}
USAGE = Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170)
"""The founding document's figures."""
Json = dict[str, Any]


def ask(model: str = OPENAI, *, path: str = CHAT, says: str = "$CASE", **more: Any) -> Ask:
    """Ask for a chat; the name of the exchange is what the user says."""
    body = {"model": model, "messages": [{"role": "user", "content": says}], **more}
    return Ask(path=path, body=encoded(body), model=model, stream=more.get("stream") is True)


def ask_stream(model: str = OPENAI, **more: Any) -> Ask:
    """Ask for a chat as a stream."""
    return ask(model, stream=True, **more)


ASK = ask()
ASK_STREAM = ask_stream()
ASK_USAGE = ask_stream(stream_options={"include_usage": True})


def chat(text: str = "Hello there.", *, model: str = MODEL, **more: Any) -> Json:
    """Answer a chat; `usage=` and others are added as they are."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], **more}


def answer(raw: Json | None = RAW, usage: Usage | None = USAGE, *, model: str = MODEL, **more: Any) -> Script:
    """Play a whole answer to a chat."""
    told = {} if raw is None else {"usage": raw}
    text = more.pop("text", "Hello there.")
    return whole(
        chat(text, model=model, **told), usage=usage, usage_raw=raw, **{"model": model, "finish_reason": "stop", **more}
    )


def chunk(delta: Json | None, finish: str | None = None, *, model: str = MODEL, **more: Any) -> bytes:
    """Write one event of a stream; None: with no choice in it."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    return event({**head, "choices": choices, **more})


ROLE = chunk({"role": "assistant", "content": ""})
WORDS = (chunk({"content": "Hello"}), chunk({"content": " there."}))
FINISH = chunk({}, "stop")
USAGE_EVENT = chunk(None, usage=RAW)
BEGUN = (ROLE, *WORDS)
ENDED = (*BEGUN, FINISH)


def stream_of(*events: Step, raw: Json | None = RAW, usage: Usage | None = USAGE, **more: Any) -> Script:
    """Play a stream of chat."""
    return stream(*events, usage=usage, usage_raw=raw, **{"model": MODEL, "finish_reason": "stop", **more})


STREAM = stream_of(*ENDED, USAGE_EVENT, DONE)
"""A stream as OpenAI sends it to those who asked for usage."""
SILENT_STREAM = stream_of(*ENDED, DONE, raw=None, usage=None)
"""A stream without a word on usage."""


def ask_completion(**more: Any) -> Ask:
    """Ask for a completion."""
    body = {"model": OPENAI, "prompt": "$CASE", **more}
    return Ask(path="/v1/completions", body=encoded(body), model=OPENAI, stream=more.get("stream") is True)


def completion(raw: Json | None, **more: Any) -> Json:
    """Answer a completion, or write a chunk of one."""
    choice = {"index": 0, "text": "Hello there.", "logprobs": None, "finish_reason": "stop", **more}
    told = {} if raw is None else {"usage": raw}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL, "choices": [choice], **told}


def ask_embeddings(**more: Any) -> Ask:
    """Ask for an embedding."""
    return Ask(path="/v1/embeddings", body=encoded({"model": OPENAI, "input": "$CASE", **more}), model=OPENAI)


def embeddings(raw: Json) -> Json:
    """Answer with one."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
    return {"object": "list", "data": data, "model": MODEL, "usage": raw}


def error(message: str, kind: str, code: str | None, param: str | None = None) -> Json:
    """Write an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
