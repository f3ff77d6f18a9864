"""How each dialect's answers and streams are read, however the network cuts them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.dialects import sse
from llm_one_api.dialects.anthropic import COUNT_TOKENS, MESSAGES
from llm_one_api.dialects.dialect import Dialect, Failure
from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.dialects.openai_media import AUDIO, IMAGES
from llm_one_api.dialects.openai_responses import RESPONSES
from llm_one_api.dialects.plain import PLAIN, RERANK
from llm_one_api.dialects.reader import LONGEST_READ, StreamReader
from llm_one_api.dialects.told import Told
from llm_one_api.values import Usage
from tests.harness.dialect_streams import CALL, CHUNK, IN_OUT, MESSAGE, STREAMS, event, response, typed


def carry(dialect: Dialect, stream: bytes, cuts: set[int]) -> tuple[bytes, str, StreamReader]:
    """Send *stream* in pieces through the cutter and the reader, as the gateway does."""
    cutter, reader = sse.EventCutter(), dialect.reader()
    out, text = b"", ""
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        batch = cutter.feed(stream[start:end])
        if batch:
            text += reader.texts(batch)
            out += reader.feed(batch, cutter.on_boundary)
    return out + reader.feed(cutter.rest), text + reader.texts(cutter.rest), reader


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@given(data=st.data())
def test_how_the_network_cuts_a_stream_never_matters(name: str, line_end: bytes, data: st.DataObject) -> None:
    dialect, stream, told, text, usage = STREAMS[name]
    stream = stream.replace(b"\n", line_end)
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=40))

    out, heard, reader = carry(dialect, stream, cuts)

    assert out == stream
    assert heard == text
    assert (reader.told(), reader.at_end) == (told, True)
    assert dialect.measure(reader.told()) == (usage, ())


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_ends_before_its_last_event_has_not_come_to_its_end(name: str) -> None:
    dialect, stream, *_ = STREAMS[name]
    first = stream[: stream.index(b"\n\n") + 2]

    _, _, reader = carry(dialect, first, set())

    assert not reader.at_end


@pytest.mark.parametrize(
    ("status", "more", "finish", "error"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens", None),
        ("failed", {"error": {"code": "server_error", "message": "secret"}}, None, "server_error"),
    ],
)
def test_a_response_that_ends_otherwise_tells_its_usage_too(
    status: str, more: dict[str, Any], finish: str | None, error: str | None
) -> None:
    last = response(status, usage=IN_OUT, **more)

    _, _, reader = carry(RESPONSES, typed(f"response.{status}", response=last), set())
    whole = RESPONSES.read_answer(json.dumps(last).encode())

    assert (reader.finish_reason, reader.error, reader.usage_raw) == (finish, error, IN_OUT)
    assert (reader.done, reader.told_by_end) == (True, True)
    assert whole == reader.told()


def test_an_error_event_of_responses_is_told_and_does_not_make_the_sdk_raise() -> None:
    _, _, bare = carry(RESPONSES, typed("error", code="rate_limit_exceeded", message="m", param=None), set())
    _, _, raising = carry(RESPONSES, typed("error", error={"code": "boom"}), set())

    assert (bare.error, bare.error_raises, bare.done) == ("rate_limit_exceeded", False, False)
    assert (raising.error, raising.error_raises) == ("boom", True)


def test_an_error_event_of_anthropics_is_told_by_its_type() -> None:
    failing = typed("error", error={"type": "overloaded_error", "message": "Overloaded"})

    _, _, reader = carry(MESSAGES, STREAMS["messages"][1][:200] + b"}}\n\n" + failing, set())

    assert (reader.error, reader.done) == ("overloaded_error", False)


def test_groqs_usage_is_found_where_it_stands() -> None:
    used = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    last = {
        **CHUNK,
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "x_groq": {"id": "r", "usage": used},
    }

    out, _, reader = carry(CHAT, event({**CHUNK, "choices": [], "x_groq": {"id": "r"}}) + event(last), set())

    assert (reader.usage_raw, reader.finish_reason) == (used, "stop")
    assert out.endswith(event(last))


def test_a_response_in_the_background_is_unfinished() -> None:
    told = RESPONSES.read_answer(json.dumps(response("queued")).encode())

    assert told == Told(model="gpt-5-mini-2025-08-07", service_tier="default", unfinished=True)


@pytest.mark.parametrize(
    ("dialect", "answer", "usage", "text"),
    [
        (
            CHAT,
            {"choices": [{"message": {"content": "Hi", "tool_calls": [CALL]}}],
             "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}},
            Usage(prompt_tokens=5, completion_tokens=3, total_tokens=8),
            "Hif{}",
        ),
        (CHAT, {"choices": [{"text": "one"}, {"text": " two"}]}, None, "one two"),
        (CHAT, {"choices": [{"message": {"content": [{"type": "text", "text": "parts"}]}}]}, None, "parts"),
        (
            RESPONSES,
            response("completed", usage=IN_OUT, output=[
                {"type": "reasoning", "summary": [{"text": "hm "}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                {"type": "function_call", "name": "f", "arguments": "{}"}]),
            Usage(prompt_tokens=36, completion_tokens=87, total_tokens=123, reasoning_tokens=9),
            "hm Hif{}",
        ),
        (
            MESSAGES,
            {**MESSAGE, "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
             "usage": {"input_tokens": 3, "output_tokens": 4}},
            Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
            "Hi",
        ),
        (COUNT_TOKENS, {"input_tokens": 99}, None, ""),
        (PLAIN, {"id": "modr", "model": "omni", "results": []}, None, ""),
        (RERANK, {"model": "r", "usage": {"total_tokens": 9}}, Usage(prompt_tokens=9, total_tokens=9), ""),
        (RERANK, {"id": "r", "meta": {"tokens": {"input_tokens": 9}}}, Usage(prompt_tokens=9, total_tokens=9), ""),
        (IMAGES, {"created": 1, "data": [{"b64_json": "A"}, {"url": "u"}]}, Usage(images=2), ""),
        (AUDIO, {"text": "heard", "duration": "8.47"}, Usage(audio_seconds=8.47), "heard"),
        (AUDIO, {"text": "heard", "duration": 8.47, "usage": {"type": "duration", "seconds": 9}},
         Usage(audio_seconds=9.0), "heard"),
    ],
)  # fmt: skip
def test_a_whole_answer_tells_what_was_used_and_what_it_says(
    dialect: Dialect, answer: dict[str, Any], usage: Usage | None, text: str
) -> None:
    body = json.dumps(answer).encode()

    assert dialect.measure(dialect.read_answer(body)) == (usage, ())
    assert dialect.text_of(body) == text


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, IMAGES, AUDIO, PLAIN, RERANK])
@pytest.mark.parametrize("body", [b"", b"RIFF\x00\xff", b"[]", b'{"usage":5,"error":[],"model":7}', b"[" * 5000])
def test_an_answer_that_is_none_tells_nothing_and_breaks_nothing(dialect: Dialect, body: bytes) -> None:
    told = dialect.read_answer(body)

    assert dialect.measure(told) == (None, ())
    assert dialect.reader().texts(body) == ""
    if dialect is not AUDIO:  # where text by itself is an answer
        assert dialect.text_of(body) == ""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("你好 there.\n", "你好 there.\n"),
        ("[Music]", "[Music]"),
        ("1\n00:00:00,000 --> 00:00:01,000\nHi\n", "1\n00:00:00,000 --> 00:00:01,000\nHi\n"),
        ("", ""),
        (' {"text":"heard"}', "heard"),
        ('{"text":7}', ""),
        ('{"text":', ""),
        (b"RIFF\x00\xff", ""),
    ],
)
def test_a_transcript_is_what_was_heard_whether_it_is_json_or_text(body: str | bytes, text: str) -> None:
    assert AUDIO.text_of(body.encode() if isinstance(body, str) else body) == text


def test_an_image_too_large_to_be_read_counts_all_the_same() -> None:
    big = typed("image_generation.completed", b64_json="A" * (3 * LONGEST_READ), usage=IN_OUT)

    out, _, reader = carry(IMAGES, big, set(range(65536, len(big), 65536)))

    assert out == big
    assert (reader.images, reader.usage_raw, reader.at_end) == (1, IN_OUT, True)


def test_the_images_of_a_long_answer_are_those_that_were_seen() -> None:
    told = IMAGES.read_ends(b'{"created":1,"data":[{"b64_json":"AAA', b'AAA"}],"usage":{"total_tokens":3}}', 4)

    assert told
    assert IMAGES.measure(told).usage == Usage(images=4, total_tokens=3)


FAILURE = Failure(status=429, message="Too fast.", type="requests", code="slow_down")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (CHAT, {"error": {"message": "Too fast.", "type": "requests", "param": None, "code": "slow_down"}}),
        (MESSAGES, {"type": "error", "error": {"type": "rate_limit_error", "message": "Too fast."}, "request_id": "r"}),
    ],
)
def test_an_error_of_ours_is_worded_as_the_dialect_does(dialect: Dialect, expected: dict[str, Any]) -> None:
    assert dialect.error(FAILURE, "r") == expected


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, IMAGES, AUDIO])
def test_an_error_event_of_ours_is_an_error_to_our_own_reader(dialect: Dialect) -> None:
    _, _, reader = carry(dialect, dialect.error_event(FAILURE), set())

    assert reader.error in {"slow_down", "rate_limit_error"}
    assert reader.error_raises


@pytest.mark.parametrize(
    ("metadata", "user"),
    [(b'{"user_id":"u-1"}', "u-1"), (b'{"user_id":5}', None), (b"[]", None), (b"null", None), (b"", None)],
)
def test_anthropics_end_user_stands_in_the_metadata(metadata: bytes, user: str | None) -> None:
    assert MESSAGES.end_user("somebody", msgspec.Raw(metadata)) == user


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=8), ascii_=st.booleans(), mixed=st.booleans())
def test_the_text_of_chunks_is_what_their_deltas_say(texts: list[str], ascii_: bool, mixed: bool) -> None:
    chunks = [{**CHUNK, "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None}]} for text in texts]
    if mixed:
        chunks.append(
            {**CHUNK, "choices": [{"index": 0, "delta": {"content": None, "reasoning": "hm", "x": '"delta"'}}]}
        )
    expected = "".join(texts) + ("hm" if mixed else "")
    for separators in [(", ", ": "), (",", ":")]:
        events = [json.dumps(chunk, ensure_ascii=ascii_, separators=separators) for chunk in chunks]
        batch = "".join(f"data: {event}\n\n" for event in events).encode("utf-8", "replace")
        assert CHAT.reader().texts(batch) == expected
