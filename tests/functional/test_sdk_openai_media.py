"""OpenAI's own SDK through the gateway: images, audio and moderations, with files that go up and sounds that come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llm_one_api.values import NO_USAGE, Usage
from tests.harness.answers import media, openai_error, refusal, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.product import OTHER_KEY
from tests.harness.sdks import Sdk, check, only_our_key, openai_sdks
from tests.harness.upstream import Upstream, scripted, stream

PICTURE = ("in.png", media.PIXELS, "image/png")
SOUND = ("in.wav", media.SOUND, "audio/wav")
DEFAULT_MODERATION = "omni-moderation-latest"

deprecated = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
"""What the SDK warns of, and still has."""


@pytest.fixture(scope="module")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = settings(scripted_upstream.url)
    made["models"][DEFAULT_MODERATION] = {"api_base": scripted_upstream.url, "api_key": "sk-upstream-secret-0009"}
    with gateway(tmp_path_factory.mktemp("sdk"), made) as it:
        yield it


@pytest.fixture(scope="module")
def sdks(running: Gateway) -> Iterator[dict[str, Sdk]]:
    with openai_sdks(running.url) as both:
        yield both


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, sdks: dict[str, Sdk]) -> Sdk:
    return sdks[request.param]


@pytest.fixture
def upstream(scripted_upstream: Upstream) -> Iterator[Upstream]:
    """The upstream, which in the end has seen our key on each call, and nowhere the caller's."""
    scripted_upstream.answer(whole(media.images()))
    yield scripted_upstream
    only_our_key(scripted_upstream)


def form(upstream: Upstream) -> dict[str, bytes]:
    """Read the form that the upstream has seen."""
    [seen] = upstream.seen
    kind = next(line for line in seen.head.split(b"\r\n") if line.lower().startswith(b"content-type: multipart/"))
    boundary = kind.partition(b"boundary=")[2].strip(b'"')
    fields = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        fields[head.partition(b'name="')[2].partition(b'"')[0].decode()] = value.removesuffix(b"\r\n")
    return fields


# ---- images ----


def test_images(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(media.images(2)))

    answer = sdk.ask(lambda client: client.images.generate(model="m", prompt="a cat", n=2, user="end-1"))

    assert [image.b64_json for image in answer.data] == [media.PICTURE] * 2
    assert answer.usage == media.IMAGES_TOLD
    record = running.record(answer._request_id)
    check(record, usage=media.images_usage(2), usage_source="reported", usage_faults=(), endpoint="images")
    check(record, usage_raw=media.IMAGES_TOLD.model_dump(), outcome="success", status=200, stream=False)
    check(record, model="m", upstream_model="demo", end_user="end-1", sdk_retry_count=0)
    assert json.loads(upstream.seen[0].body)["model"] == "demo"


def test_images_that_are_large_come_whole_and_are_counted(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    picture = media.PICTURE * 3000
    upstream.answer(whole(media.images(2, picture)))

    answer = sdk.ask(lambda client: client.images.generate(model="m", prompt="a cat", n=2))

    assert {image.b64_json for image in answer.data} == {picture}
    check(running.record(answer._request_id), usage=media.images_usage(2), usage_source="reported", outcome="success")


def test_images_that_are_billed_by_their_number(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(media.images(3, usage=None)))

    answer = sdk.ask(lambda client: client.images.generate(model="m", prompt="a cat", n=3, response_format="b64_json"))

    assert (len(answer.data), answer.usage) == (3, None)
    record = running.record(answer._request_id)
    check(record, usage=Usage(images=3), usage_source="reported", usage_raw=None, outcome="success")


def test_images_as_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*media.IMAGE_EVENTS))

    seen = sdk.stream(lambda client: client.images.generate(model="m", prompt="a cat", stream=True, partial_images=1))

    assert (seen.error, [event.type for event in seen.events]) == (
        None,
        ["image_generation.partial_image", "image_generation.completed"],
    )
    assert seen.events[-1].usage == media.EVENT_TOLD
    record = running.record(seen.request_id)
    check(record, usage=media.images_usage(1, None), usage_source="reported", stream=True, outcome="success")
    check(record, endpoint="images", sdk_retry_count=0)


def test_an_image_is_edited(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(media.images()))

    answer = sdk.ask(
        lambda client: client.images.edit(model="m", image=PICTURE, mask=PICTURE, prompt="a hat", user="end-2")
    )

    assert answer.data[0].b64_json == media.PICTURE
    record = running.record(answer._request_id)
    check(record, usage=media.images_usage(1), usage_source="reported", endpoint="image_edits", stream=False)
    check(record, outcome="success", model="m", upstream_model="demo", sdk_retry_count=0, end_user="end-2")
    sent = form(upstream)
    assert (sent["model"], sent["prompt"], sent["user"]) == (b"demo", b"a hat", b"end-2")
    assert (sent["image"], sent["mask"]) == (media.PIXELS, media.PIXELS)
    assert upstream.seen[0].head.startswith(b"POST /v1/images/edits HTTP/1.1\r\n")


def test_several_images_are_edited_as_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*media.EDIT_EVENTS))

    seen = sdk.stream(
        lambda client: client.images.edit(model="m", image=[PICTURE, PICTURE], prompt="a hat", stream=True)
    )

    assert [event.type for event in seen.events] == ["image_edit.partial_image", "image_edit.completed"]
    record = running.record(seen.request_id)
    check(record, usage=media.images_usage(1, None), usage_source="reported", endpoint="image_edits", stream=True)
    assert form(upstream)["image[]"] == media.PIXELS


@deprecated
def test_a_variation_of_an_image(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(media.images(usage=None)))

    answer = sdk.ask(lambda client: client.images.create_variation(model="m", image=PICTURE, n=1))

    record = running.record(answer._request_id)
    check(record, usage=Usage(images=1), usage_source="reported", endpoint="image_variations", outcome="success")
    assert form(upstream)["image"] == media.PIXELS


# ---- what is heard ----


@pytest.mark.parametrize(
    ("told", "raw", "usage"),
    [
        (media.BY_TOKENS, media.TOKENS_TOLD, media.TOKENS),
        (media.BY_LENGTH, media.SECONDS_TOLD, media.SECONDS),
        (media.VERBOSE, media.SECONDS_TOLD, media.SECONDS),
    ],
    ids=["tokens", "duration", "verbose"],
)
def test_a_transcription(
    sdk: Sdk, running: Gateway, upstream: Upstream, told: Any, raw: dict[str, Any], usage: Usage
) -> None:
    upstream.answer(whole(told))
    kind = "verbose_json" if told is media.VERBOSE else "json"

    answer = sdk.ask(lambda client: client.audio.transcriptions.create(model="m", file=SOUND, response_format=kind))

    assert (type(answer), answer.to_dict()) == (type(told), told.to_dict())
    record = running.record(answer._request_id)
    check(record, usage=usage, usage_source="reported", usage_raw=raw, usage_faults=(), endpoint="transcriptions")
    check(record, outcome="success", status=200, stream=False, model="m", upstream_model="demo", sdk_retry_count=0)
    assert form(upstream) == {"model": b"demo", "response_format": kind.encode(), "file": media.SOUND}


def test_a_transcription_as_text_is_counted(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(media.raw(media.HEARD.encode() + b"\n", b"text/plain; charset=utf-8"))
    before = len(running.opened())

    answer = sdk.ask(lambda client: client.audio.transcriptions.create(model="m", file=SOUND, response_format="text"))

    assert answer == media.HEARD + "\n"
    [opened] = running.opened()[before:]
    record = running.record(opened.request_id)
    check(record, outcome="success", usage_source="estimated", endpoint="transcriptions", stream=False)
    assert record.usage == Usage(completion_tokens=record.usage.completion_tokens)
    assert record.usage.completion_tokens in range(3, 9)


def test_a_transcription_as_a_stream(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*media.TRANSCRIPT_EVENTS))

    seen = sdk.stream(lambda client: client.audio.transcriptions.create(model="m", file=SOUND, stream=True))

    assert [event.type for event in seen.events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in seen.events[:2]) == seen.events[2].text == media.HEARD
    record = running.record(seen.request_id)
    check(record, usage=media.TOKENS, usage_source="reported", stream=True, outcome="success", finish_reason="stop")
    assert form(upstream)["stream"] == b"true"


def test_a_transcription_whose_stream_is_cut_off_is_raised(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(stream(*media.TRANSCRIPT_EVENTS[:2]))

    seen = sdk.stream(lambda client: client.audio.transcriptions.create(model="m", file=SOUND, stream=True))

    assert isinstance(seen.error, openai.APIError)
    assert (seen.error.code, len(seen.events)) == ("upstream_truncated", 2)
    check(running.record(seen.request_id), outcome="truncated", usage_source="partial", stream=True)


@deprecated
def test_a_translation(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(whole(media.TRANSLATION))

    answer = sdk.ask(lambda client: client.audio.translations.create(model="m", file=SOUND, prompt="greet"))

    assert answer == media.TRANSLATION
    record = running.record(answer._request_id)
    check(record, outcome="success", endpoint="translations", usage_source="estimated", usage_raw=None)
    assert record.usage == Usage(completion_tokens=3)
    assert form(upstream) == {"model": b"demo", "prompt": b"greet", "file": media.SOUND}


def test_a_form_that_is_refused(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(refusal(400, openai_error("Audio file is too short.", kind="invalid_request_error", code="short")))

    with pytest.raises(openai.BadRequestError, match="too short") as caught:
        sdk.ask(lambda client: client.audio.transcriptions.create(model="m", file=SOUND))

    check(running.record(caught.value.request_id or ""), outcome="client_error", status=400, error="short")


@pytest.mark.parametrize("status", [200, 400])
def test_what_stands_in_a_form_far_behind_its_model_is_recorded_too(
    sdk: Sdk, running: Gateway, upstream: Upstream, status: int
) -> None:
    if status == 400:
        upstream.answer(refusal(400, openai_error("No such size.", kind="invalid_request_error", code="size")))
    asked: Any = {"image": PICTURE, "prompt": "a hat", "size": "x" * 300_000, "user": "end-3", "stream": True}
    before = len(running.opened())

    if status == 400:
        with pytest.raises(openai.BadRequestError):
            sdk.ask(lambda client: client.images.edit(model="m", **asked))
    else:
        sdk.stream(lambda client: client.images.edit(model="m", **asked))

    [opened] = running.opened()[before:]
    check(running.record(opened.request_id), end_user="end-3", stream=True, status=status)


def test_a_form_for_a_model_that_there_is_not(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.ask(
            lambda client: client.with_options(api_key=OTHER_KEY).audio.transcriptions.create(model="no", file=SOUND)
        )

    assert (caught.value.code, upstream.seen) == ("model_not_found", [])
    check(running.record(caught.value.request_id or ""), outcome="rejected", status=404, user="bob", model="no")


# ---- what is spoken ----


def test_speech(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(media.raw(media.SOUND, b"audio/mpeg"))
    asked: Any = {"model": "m", "voice": "alloy", "input": "Hello there."}

    answer = sdk.ask(lambda client: client.audio.speech.create(**asked))

    assert answer.content == media.SOUND
    assert answer.response.headers["content-type"] == "audio/mpeg"
    record = running.record(answer.response.headers["x-request-id"])
    check(record, outcome="success", endpoint="speech", stream=False, usage_source="estimated")
    check(record, usage=Usage(prompt_tokens=3, total_tokens=3))
    assert json.loads(upstream.seen[0].body) == {**asked, "model": "demo"}


def test_speech_that_is_played_as_it_comes(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    sound = media.SOUND * 1000
    upstream.answer(media.raw(sound, b"audio/mpeg"))

    seen = sdk.enter(
        lambda client: client.audio.speech.with_streaming_response.create(model="m", voice="alloy", input="Hello"),
        each="iter_bytes",
    )

    assert (seen.error, b"".join(seen.events)) == (None, sound)
    check(running.record(seen.request_id), outcome="success", endpoint="speech", usage_source="estimated")


def test_speech_as_events_tells_its_usage(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    told = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    events = [{"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": told}]
    upstream.answer(stream(*[b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]))
    asked: Any = {"model": "m", "voice": "alloy", "input": "Hello", "stream_format": "sse"}

    seen = sdk.enter(
        lambda client: client.audio.speech.with_streaming_response.create(**asked), each="iter_lines"
    )  # the SDK leaves it to its caller to read the events

    assert [json.loads(line.removeprefix("data: ")) for line in seen.events if line] == events
    usage = Usage(prompt_tokens=14, completion_tokens=101, total_tokens=115)
    check(running.record(seen.request_id), usage=usage, usage_source="reported", stream=True, outcome="success")


# ---- moderations ----


@pytest.mark.parametrize("model", ["m", None], ids=["with a model", "without"])
def test_a_moderation(sdk: Sdk, running: Gateway, upstream: Upstream, model: str | None) -> None:
    upstream.answer(whole(media.MODERATION))
    asked: Any = {"input": "I hit you.", **({"model": model} if model else {})}

    answer = sdk.ask(lambda client: client.moderations.create(**asked))

    assert answer.to_dict() == media.MODERATION.to_dict()
    assert (answer.results[0].flagged, answer.results[0].categories.violence) == (True, True)
    record = running.record(answer._request_id)
    check(record, outcome="success", endpoint="moderations", response_model="omni-moderation-scripted")
    check(record, model=model or DEFAULT_MODERATION, usage_source="estimated", sdk_retry_count=0)
    assert record.usage == Usage(prompt_tokens=4, total_tokens=4)
    sent = json.loads(upstream.seen[0].body)
    assert sent == ({**asked, "model": "demo"} if model else asked)


def test_a_moderation_that_fails_uses_nothing(sdk: Sdk, running: Gateway, upstream: Upstream) -> None:
    upstream.answer(refusal(429, openai_error("Slow down.", kind="requests", code="rate_limit_exceeded")))

    with pytest.raises(openai.RateLimitError) as caught:
        sdk.ask(lambda client: client.moderations.create(model="m", input="hi"))

    record = running.record(caught.value.request_id or "")
    check(record, outcome="upstream_error", status=429, usage=NO_USAGE, usage_source="none")
