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


def event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def typed(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, kind)


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5-mini-2025-08-07", "error": None,
            "incomplete_details": None, "output": [], "service_tier": "default", "usage": None, **more}  # fmt: skip


IN_OUT = {
    "input_tokens": 36,
    "output_tokens": 87,
    "total_tokens": 123,
    "output_tokens_details": {"reasoning_tokens": 9},
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
CALL = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-x", "service_tier": "default"}

STREAMS: dict[str, tuple[Dialect, bytes, Told, str, Usage]] = {
    "chat": (
        CHAT,
        event({**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"reasoning_content": "hm "}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"content": "你好\n\ndata: x"}, "finish_reason": None}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}]})
        + event({**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        + event({**CHUNK, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}})
        + b"data: [DONE]\n\n",
        Told(model="gpt-x", service_tier="default", finish_reason="stop",
             usage_raw={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}),
        "hm 你好\n\ndata: xf{}",
        Usage(prompt_tokens=5, completion_tokens=3, total_tokens=8),
    ),
    "responses": (
        RESPONSES,
        typed("response.created", response=response("in_progress"), sequence_number=0)
        + typed("response.reasoning_summary_text.delta", delta="hm ")
        + typed("response.output_text.delta", item_id="i", delta="response.completed")
        + typed("response.audio.delta", delta="AAAA")
        + typed("response.output_text.done", text="response.completed")
        + typed("response.completed", response=response("completed", usage=IN_OUT)),
        Told(model="gpt-5-mini-2025-08-07", service_tier="default", finish_reason="stop", usage_raw=IN_OUT),
        "hm response.completed",
        Usage(prompt_tokens=36, completion_tokens=87, total_tokens=123, reasoning_tokens=9),
    ),
    "messages": (
        MESSAGES,
        typed("message_start", message={**MESSAGE, "usage": {"input_tokens": 25, "cache_read_input_tokens": 100,
                                                              "output_tokens": 1, "service_tier": "standard"}})
        + typed("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + typed("ping")
        + typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hé"})
        + typed("content_block_stop", index=0)
        + typed("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}})
        + typed("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a":1}'})
        + typed("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 7})
        + typed("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
                usage={"input_tokens": None, "output_tokens": 15})
        + typed("message_stop"),
        Told(model="claude-x", service_tier="standard", finish_reason="tool_use",
             usage_raw={"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 15,
                        "service_tier": "standard"}),
        'Héf{"a":1}',
        Usage(prompt_tokens=125, completion_tokens=15, total_tokens=140, cache_read_tokens=100),
    ),
    "transcription": (
        AUDIO,
        typed("transcript.text.delta", delta="I see ") + typed("transcript.text.delta", delta="skies")
        + typed("transcript.text.done", text="I see skies", usage={"type": "duration", "seconds": 3}),
        Told(finish_reason="stop", usage_raw={"type": "duration", "seconds": 3}),
        "I see skies",
        Usage(audio_seconds=3.0),
    ),
    "images": (
        IMAGES,
        typed("image_generation.partial_image", b64_json="AAAA", partial_image_index=0)
        + typed("image_generation.completed", b64_json="AAAABBBB", usage=IN_OUT),
        Told(finish_reason="stop", usage_raw=IN_OUT, images=1),
        "",
        Usage(prompt_tokens=36, completion_tokens=87, total_tokens=123, reasoning_tokens=9, images=1),
    ),
}  # fmt: skip


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
    assert dialect.text_of(body) == ""
    assert dialect.reader().texts(body) == ""


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
    batch = b"".join(f"data: {json.dumps(c, ensure_ascii=ascii_)}\n\n".encode("utf-8", "replace") for c in chunks)
    compact = batch.replace(b'": ', b'":').replace(b', "', b',"')

    expected = "".join(texts) + ("hm" if mixed else "")
    assert CHAT.reader().texts(batch) == expected
    if not any(odd in text for text in texts for odd in ('": ', ', "', '"')):
        assert CHAT.reader().texts(compact) == expected
