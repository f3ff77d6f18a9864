"""Images, audio, moderations and reranks: tokens, seconds, counts, and forms that stream through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import case
from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.judge import ANYTHING, That, one_of
from llm_one_api.conformance.models import ALIAS, ALIASED, OPENAI
from llm_one_api.conformance.scripts import DONE, Script, encoded, event, stream, whole
from llm_one_api.conformance.shapes.multipart import form
from llm_one_api.values import Usage

PIXEL = "iVBORw0KGgo="
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x00\xff\x00--not-a-boundary\r\n\x00" + bytes(range(256))
OF_IMAGES = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
    "output_tokens": 4160,
    "total_tokens": 4210,
}
OF_AUDIO = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
HEARD = Usage(prompt_tokens=14, completion_tokens=45, total_tokens=59, audio_input_tokens=10)


def ask(path: str, **body: Any) -> Ask:
    """Ask with JSON."""
    return Ask(path=path, body=encoded({"model": OPENAI, **body}), model=OPENAI, stream=body.get("stream") is True)


def told(name: str, says: str, asked: Ask, answer: Any, raw: Any, usage: Usage, **record: Any) -> None:
    """Make a case of an answer in one piece."""

    @case(f"media/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(asked, whole(answer, usage=usage, usage_raw=raw))
        bench.holds(call, **{"finish_reason": ANYTHING, "response_model": ANYTHING, **record})
        bench.check(
            "body upstream", hashed(call.ask.body.replace(b"$CASE", call.token.encode())), hashed(call.seen.body)
        )


def hashed(body: bytes) -> str:
    """Name a large body."""
    return f"{len(body)} bytes {hashlib.sha256(body).hexdigest()[:16]}"


told(
    "images",
    "Images are counted, and their tokens are input, with the image part of it, and output.",
    ask("/v1/images/generations", prompt="$CASE", n=2),
    {"created": 1, "data": [{"b64_json": PIXEL}, {"b64_json": PIXEL}], "usage": OF_IMAGES},
    OF_IMAGES,
    Usage(prompt_tokens=50, completion_tokens=4160, total_tokens=4210, image_tokens=40, images=2),
    endpoint="images",
)
told(
    "images-edited",
    "An edit is a form that passes as it came, to the byte.",
    form("/v1/images/edits", OPENAI, {"prompt": "$CASE"}, WAV, name="image", kind="image/png"),
    {"created": 1, "data": [{"b64_json": PIXEL}], "usage": OF_IMAGES},
    OF_IMAGES,
    Usage(prompt_tokens=50, completion_tokens=4160, total_tokens=4210, image_tokens=40, images=1),
)
told(
    "images-varied",
    "So does a form that asks for variations.",
    form("/v1/images/variations", OPENAI, {"user": "$CASE"}, WAV, name="image", kind="image/png"),
    {"created": 1, "data": [{"b64_json": PIXEL}, {"b64_json": PIXEL}]},
    None,
    Usage(images=2),
    usage_source=ANYTHING,
)


@case("media/images-without-usage")
def images_alone(bench: Bench) -> None:
    """Where no tokens are told, the images are counted all the same, and output tokens are not made up."""
    answer = {"created": 1, "data": [{"url": "https://example.invalid/1"}] * 3}
    call = bench.call(ask("/v1/images/generations", prompt="$CASE", n=3), whole(answer))
    three = That(
        "three images and no output", lambda usage: usage["images"] == 3 and usage["completion_tokens"] is None
    )
    bench.holds(call, usage=three, usage_source=ANYTHING, finish_reason=ANYTHING)


@case("media/images-stream")
def images_stream(bench: Bench) -> None:
    """A stream of images tells its usage in its last event."""
    begun, done = "image_generation.partial_image", "image_generation.completed"
    partial = event({"type": begun, "b64_json": PIXEL, "partial_image_index": 0}, begun)
    last = event({"type": done, "b64_json": PIXEL * 40_000, "created_at": 1, "usage": OF_IMAGES}, done)
    usage = Usage(prompt_tokens=50, completion_tokens=4160, total_tokens=4210, image_tokens=40, images=1)
    call = bench.call(
        ask("/v1/images/generations", prompt="$CASE", stream=True, partial_images=1),
        stream(partial, last, usage=usage, usage_raw=OF_IMAGES),
    )
    bench.holds(call, finish_reason=ANYTHING)


TRANSCRIBE = form("/v1/audio/transcriptions", OPENAI, {"prompt": "$CASE"}, WAV)
told(
    "transcription-tokens",
    "A transcription that is billed by tokens has input, with its audio part, and output.",
    TRANSCRIBE,
    {"text": "Hello there.", "usage": OF_AUDIO},
    OF_AUDIO,
    HEARD,
    endpoint="transcriptions",
)
told(
    "transcription-duration",
    "One that is billed by its length has seconds, and no tokens are made up beside them.",
    TRANSCRIBE,
    {"text": "Hello there.", "usage": {"type": "duration", "seconds": 9}},
    {"type": "duration", "seconds": 9},
    Usage(audio_seconds=9.0),
)
told(
    "translation",
    "A translation is read as a transcription is.",
    form("/v1/audio/translations", OPENAI, {"prompt": "$CASE"}, WAV),
    {"text": "Hello there.", "usage": OF_AUDIO},
    OF_AUDIO,
    HEARD,
    endpoint="translations",
)


@case("media/transcription-stream")
def transcription_stream(bench: Bench) -> None:
    """A streamed transcription tells its usage in `transcript.text.done`."""
    asked = form("/v1/audio/transcriptions", OPENAI, {"prompt": "$CASE", "stream": "true"}, WAV)
    events = (
        event({"type": "transcript.text.delta", "delta": "Hello"}),
        event({"type": "transcript.text.delta", "delta": " there."}),
        event({"type": "transcript.text.done", "text": "Hello there.", "usage": OF_AUDIO}),
    )
    bench.holds(bench.call(asked, stream(*events, DONE, usage=HEARD, usage_raw=OF_AUDIO)), finish_reason=ANYTHING)


@case("media/form-streams-through")
def form_streams(bench: Bench) -> None:
    """A form reaches the upstream while its caller is still sending: it is not collected first."""
    asked = form("/v1/audio/transcriptions", OPENAI, {"prompt": "$CASE"}, WAV * 20_000)

    def in_two(call: Call, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        begun = call.account.wait(lambda account: any(len(each.body) > len(body) // 8 for each in account.exchanges), 5)
        bench.check("an eighth is upstream when half of it was sent", True, begun)
        yield body[len(body) // 2 :]

    call = bench.call(asked, whole({"text": "Hi", "usage": OF_AUDIO}, usage=HEARD, usage_raw=OF_AUDIO), pieces=in_two)
    bench.holds(call, finish_reason=ANYTHING)
    bench.check("body upstream", hashed(asked.body.replace(b"$CASE", call.token.encode())), hashed(call.seen.body))


@case("media/form-with-alias")
def form_alias(bench: Bench) -> None:
    """In a form too the model goes up by the upstream's name, and nothing else changes."""
    asked = form("/v1/audio/transcriptions", ALIAS, {"prompt": "$CASE"}, WAV)
    call = bench.call(asked, whole({"text": "Hi", "usage": OF_AUDIO}, usage=HEARD, usage_raw=OF_AUDIO))
    bench.holds(call, finish_reason=ANYTHING)
    sent = asked.body.replace(b"$CASE", call.token.encode()).replace(ALIAS.encode(), ALIASED.encode(), 1)
    bench.check("body upstream", hashed(sent), hashed(call.seen.body))


@case("media/speech")
def speech(bench: Bench) -> None:
    """Speech passes as it is, to the byte, and its sound is no text to count."""
    script = Script(steps=(WAV * 3000,), headers=(("Content-Type", "audio/mpeg"),), framing="chunked")
    call = bench.call(ask("/v1/audio/speech", input="$CASE", voice="alloy"), script)
    silent = That("no output", lambda usage: usage["completion_tokens"] is None)
    bench.holds(call, usage=silent, usage_source=one_of("none", "estimated"), endpoint="speech", finish_reason=ANYTHING)


@case("media/speech-stream")
def speech_stream(bench: Bench) -> None:
    """Speech as events tells its usage in `speech.audio.done`."""
    raw = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    events = (
        event({"type": "speech.audio.delta", "audio": PIXEL}),
        event({"type": "speech.audio.done", "usage": raw}),
    )
    usage = Usage(prompt_tokens=14, completion_tokens=101, total_tokens=115)
    asked = ask("/v1/audio/speech", input="$CASE", voice="alloy", stream_format="sse")
    call = bench.call(asked, stream(*events, usage=usage, usage_raw=raw))
    bench.holds(call, finish_reason=ANYTHING, stream=ANYTHING)


@case("media/moderations")
def moderations(bench: Bench) -> None:
    """A moderation tells no usage: its input is counted, and it has no output."""
    answer = {"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [{"flagged": False, "categories": {}}]}
    call = bench.call(ask("/v1/moderations", input="$CASE"), whole(answer, model="omni-moderation-2024-09-26"))
    no_output = That("no output", lambda usage: not usage["completion_tokens"])
    bench.holds(
        call, usage=no_output, usage_source=one_of("none", "estimated"), endpoint="moderations", finish_reason=None
    )


def rerank(name: str, says: str, tail: dict[str, Any], raw: dict[str, Any], usage: Usage) -> None:
    """Make a case of a rerank."""
    told(
        f"rerank-{name}",
        says,
        ask("/v1/rerank", query="$CASE", documents=["a", "b"]),
        {"id": "rr-1", "results": [{"index": 1, "relevance_score": 0.9}], **tail},
        raw,
        usage,
        endpoint="rerank",
    )


JINA = {"prompt_tokens": 15, "total_tokens": 15}
rerank("jina", "A rerank takes input and has no output (Jina, vLLM).", {"usage": JINA}, JINA,
       Usage(prompt_tokens=15, total_tokens=15))  # fmt: skip
COHERE = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}, "tokens": {"input_tokens": 15}}
rerank("cohere", "Cohere tells the same in `meta`.", {"meta": COHERE}, COHERE, Usage(prompt_tokens=15, total_tokens=15))
