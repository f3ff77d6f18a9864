"""OpenAI's images, audio and moderations."""

from __future__ import annotations

import base64
from typing import Any, Literal

from openai.types import (
    Image,
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
    Moderation,
    ModerationCreateResponse,
)
from openai.types.audio import (
    Transcription,
    TranscriptionSegment,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
    Translation,
    transcription,
    transcription_text_done_event,
    transcription_verbose,
)
from openai.types.image_gen_completed_event import Usage as EventUsage
from openai.types.images_response import Usage as ImagesUsage
from openai.types.moderation import Categories, CategoryAppliedInputTypes, CategoryScores

from llm_one_api.values import Usage
from tests.harness.answers import ID, event, typed
from tests.harness.upstream import Conversation, Script

# ---- images ----

PIXELS = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PICTURE = base64.b64encode(PIXELS).decode()
IMAGES_TOLD = ImagesUsage.model_validate(
    {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 1056,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 1056},
        "total_tokens": 1106,
    }
)
EVENT_TOLD = EventUsage.model_validate(
    {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 1056,
        "total_tokens": 1106,
    }
)


def images_usage(count: int, output: int | None = 1056) -> Usage:
    """Give it as it is kept; a stream does not say how much of the *output* were images."""
    return Usage(
        prompt_tokens=50,
        completion_tokens=1056,
        total_tokens=1106,
        image_tokens=40,
        image_output_tokens=output,
        images=count,
    )


def images(count: int = 1, picture: str = PICTURE, usage: ImagesUsage | None = IMAGES_TOLD) -> ImagesResponse:
    made = ImagesResponse(created=1, data=[Image(b64_json=picture) for _ in range(count)], size="1024x1024")
    if usage is not None:  # dall-e tells none
        made.usage = usage
    return made


def _image_events(kind: Literal["image_generation", "image_edit"]) -> tuple[bytes, ...]:
    told: dict[str, Any] = {
        "b64_json": PICTURE,
        "background": "opaque",
        "created_at": 1,
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
    }
    if kind == "image_generation":
        partial: Any = ImageGenPartialImageEvent(type="image_generation.partial_image", partial_image_index=0, **told)
        last: Any = ImageGenCompletedEvent(type="image_generation.completed", usage=EVENT_TOLD, **told)
    else:
        partial = ImageEditPartialImageEvent(type="image_edit.partial_image", partial_image_index=0, **told)
        usage = EVENT_TOLD.model_dump()
        last = ImageEditCompletedEvent.model_validate({"type": "image_edit.completed", "usage": usage, **told})
    return typed(partial), typed(last)


IMAGE_EVENTS, EDIT_EVENTS = _image_events("image_generation"), _image_events("image_edit")

# ---- audio ----

SOUND = b"RIFF\xff\x00\r\n--" + bytes(range(256)) * 8
TOKENS_TOLD = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
TOKENS = Usage(prompt_tokens=14, completion_tokens=45, total_tokens=59, audio_input_tokens=10)
SECONDS_TOLD = {"type": "duration", "seconds": 9}
SECONDS = Usage(audio_seconds=9.0)
HEARD = "你好 there."

BY_TOKENS = Transcription(text=HEARD, usage=transcription.UsageTokens.model_validate(TOKENS_TOLD))
BY_LENGTH = Transcription(text=HEARD, usage=transcription.UsageDuration.model_validate(SECONDS_TOLD))
SILENT = Transcription(text=HEARD)
VERBOSE = TranscriptionVerbose(
    duration=8.47,
    language="chinese",
    text=HEARD,
    segments=[
        TranscriptionSegment(
            id=0, seek=0, start=0.0, end=8.47, text=HEARD, tokens=[50364, 50788], temperature=0.0, avg_logprob=-0.3,
            compression_ratio=1.2, no_speech_prob=0.01,
        )
    ],
    usage=transcription_verbose.Usage.model_validate(SECONDS_TOLD),
)  # fmt: skip
TRANSLATION = Translation(text="Hello there.")
TRANSCRIPT_EVENTS = (
    event(TranscriptionTextDeltaEvent(type="transcript.text.delta", delta="你好 ")),
    event(TranscriptionTextDeltaEvent(type="transcript.text.delta", delta="there.")),
    event(
        TranscriptionTextDoneEvent(
            type="transcript.text.done",
            text=HEARD,
            usage=transcription_text_done_event.Usage.model_validate(TOKENS_TOLD),
        )
    ),
)


def raw(body: bytes, kind: bytes) -> Script:
    """Answer with what is no JSON, in chunks as speech comes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + ID + b"Transfer-Encoding: chunked\r\n\r\n"

    def answer(talk: Conversation) -> None:
        half = len(body) // 2
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:])]
        talk.send(head + b"".join(pieces) + b"0\r\n\r\n")

    return answer


# ---- moderations ----

_KINDS = [field.alias or name for name, field in CategoryScores.model_fields.items()]
MODERATION = ModerationCreateResponse(
    id="modr-1",
    model="omni-moderation-scripted",
    results=[
        Moderation(
            flagged=True,
            categories=Categories.model_validate({kind: kind == "violence" for kind in _KINDS}),
            category_scores=CategoryScores.model_validate(dict.fromkeys(_KINDS, 0.25)),
            category_applied_input_types=CategoryAppliedInputTypes.model_validate({kind: ["text"] for kind in _KINDS}),
        )
    ],
)
