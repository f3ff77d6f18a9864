"""What the scripted upstream plays is what providers send: the official SDKs' own types take it."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types as a
import openai.types as o
import openai.types.responses as r
import pytest
from openai.types import audio, chat
from pydantic import BaseModel

from llm_one_api.conformance.cases import media
from llm_one_api.conformance.client import Reply
from llm_one_api.conformance.shapes import anthropic, openai, responses


def events(*written: bytes) -> list[Any]:
    return [each for each in Reply(200, {}, b"".join(written)).events if each != "[DONE]"]


@pytest.mark.parametrize(
    ("shape", "played"),
    [
        (chat.ChatCompletion, openai.chat(usage=openai.RAW)),
        (o.Completion, openai.completion(openai.RAW)),
        (o.CreateEmbeddingResponse, openai.embeddings({"prompt_tokens": 8, "total_tokens": 8})),
        (o.ImagesResponse, {"created": 1, "data": [{"b64_json": media.PIXEL}], "usage": media.OF_IMAGES}),
        (audio.Transcription, {"text": "Hello there.", "usage": media.OF_AUDIO}),
        (audio.Transcription, {"text": "Hello there.", "usage": {"type": "duration", "seconds": 9}}),
        (a.Message, anthropic.message()),
        (a.MessageTokensCount, {"input_tokens": 2095}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_whole_answers_are_of_the_official_shape(shape: type[BaseModel], played: dict[str, Any]) -> None:
    taken = shape.model_validate(played, strict=True)

    assert taken.model_dump(exclude_unset=True, mode="json") == played


def test_chunks_are_of_the_official_shape() -> None:
    for played in events(*openai.ENDED, openai.USAGE_EVENT):
        chat.ChatCompletionChunk.model_validate(played, strict=True)


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_responses_are_of_the_official_shape(status: str) -> None:
    # The newest answers tell one more part; most servers do not yet.
    told = {**responses.RAW, "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 0}}
    played = responses.response(status, told)

    r.Response.model_validate(played, strict=True)


def test_events_of_responses_are_of_the_official_shape() -> None:
    shapes: list[type[BaseModel]] = [
        r.ResponseCreatedEvent,
        r.ResponseInProgressEvent,
        r.ResponseTextDeltaEvent,
        r.ResponseTextDeltaEvent,
    ]

    for shape, played in zip(shapes, events(*responses.BEGUN), strict=True):
        shape.model_validate(played, strict=True)


def test_events_of_messages_are_of_the_official_shape() -> None:
    shapes: dict[str, type[BaseModel]] = {
        "message_start": a.RawMessageStartEvent,
        "content_block_start": a.RawContentBlockStartEvent,
        "content_block_delta": a.RawContentBlockDeltaEvent,
        "content_block_stop": a.RawContentBlockStopEvent,
        "message_delta": a.RawMessageDeltaEvent,
        "message_stop": a.RawMessageStopEvent,
    }

    for played in events(*anthropic.STREAM_EVENTS):
        if played["type"] != "ping":
            shapes[played["type"]].model_validate(played, strict=True)


def test_errors_are_of_the_official_shape() -> None:
    played = json.loads(json.dumps(anthropic.error("overloaded_error")))

    assert a.ErrorResponse.model_validate({**played, "request_id": None}).error.type == "overloaded_error"
