"""Streams as bytes: how the network cuts them never matters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.dialects import sse
from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.dialects.reader import LONGEST_READ, StreamReader
from llm_one_api.dialects.usage import of_openai
from tests.harness.upstream import DONE, FINISH, USAGE, delta

AZURE_FIRST = b'data: {"id":"","object":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
EVENTS = [AZURE_FIRST, delta("你好"), b": a comment\n\n", delta("b"), FINISH, USAGE, DONE]
STREAM = b"".join(EVENTS)
SHOWN = b"".join(event for event in EVENTS if event != USAGE)


def carry(stream: bytes, cuts: set[int], *, hide: bool) -> tuple[bytes, StreamReader]:
    """Send *stream* in pieces through the cutter and the reader, as the gateway does."""
    cutter, reader = sse.EventCutter(), CHAT.reader(hide_usage=hide)
    out = b""
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        batch = cutter.feed(stream[start:end])
        if batch:
            out += reader.feed(batch, cutter.on_boundary)
    return out + reader.feed(cutter.rest), reader


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.sets(st.integers(1, len(STREAM) - 1)), hide=st.booleans())
def test_how_the_network_cuts_a_stream_never_matters(line_end: bytes, cuts: set[int], hide: bool) -> None:
    stream = STREAM.replace(b"\n", line_end)

    out, reader = carry(stream, {c for c in cuts if c < len(stream)}, hide=hide)

    assert out == (SHOWN.replace(b"\n", line_end) if hide else stream)
    assert reader.usage_raw == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert (reader.finish_reason, reader.done, reader.error) == ("stop", True, None)
    assert reader.model == "demo-2026"


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1)))
def test_what_is_handed_on_ends_where_an_event_ends(cuts: set[int]) -> None:
    cutter = sse.EventCutter()

    batches = [cutter.feed(STREAM[a:b]) for a, b in pairwise([0, *sorted(cuts), len(STREAM)])]

    assert all(batch.endswith(b"\n\n") for batch in batches if batch)
    assert b"".join(batches) == STREAM


def test_an_event_without_choices_is_not_the_one_that_was_asked_for() -> None:
    event = b'data: {"object":"chat.completion.citations","citations":["a"],"usage":{"prompt_tokens":1}}\n\n'

    out, _ = carry(delta("a") + event + FINISH + USAGE + DONE, set(), hide=True)

    assert out == delta("a") + event + FINISH + DONE


def test_usage_in_the_chunk_that_ends_the_answer_stays() -> None:
    last = (
        b'data: {"model":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    )

    out, reader = carry(delta("a") + last + DONE, set(), hide=True)

    assert out == delta("a") + last + DONE
    assert of_openai(reader.usage_raw).usage is not None


def test_a_stream_without_a_blank_line_at_its_end_is_read_to_its_end() -> None:
    out, reader = carry(delta("a") + FINISH + USAGE + b"data: [DONE]", {40}, hide=False)

    assert out.endswith(b"data: [DONE]")
    assert reader.done


def test_an_event_of_four_megabytes_passes_without_being_kept() -> None:
    big = delta("x" * (4 << 20))
    cutter = sse.EventCutter()

    out = [cutter.feed(big[start : start + 65536]) for start in range(0, len(big), 65536)]

    assert b"".join(out) == big
    assert max(map(len, out)) <= 3 * 65536


@pytest.mark.parametrize("cut", [65536, 70000, 100_001])
@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n"])
def test_an_event_that_is_too_long_to_be_held_back_is_read_all_the_same(cut: int, blank: bytes) -> None:
    long = (
        b'data: {"model":"m","choices":[{"delta":{"content":"%b"},"finish_reason":"stop"}],"usage":{"total_tokens":7}}'
    )
    head = delta("a") + long % (b"x" * 200_000)
    stream = head + blank + b'data: {"service_tier":"flex","choices":[],"error":{"code":"late"}}' + blank
    edges = {*range(cut, len(head), cut), len(head) + 1}  # the last one goes through the blank line

    out, reader = carry(stream, edges, hide=True)

    assert out == stream
    assert (reader.finish_reason, reader.usage_raw) == ("stop", {"total_tokens": 7})
    assert (reader.service_tier, reader.error) == ("flex", "late")


def test_an_event_of_four_megabytes_is_not_read_and_those_behind_it_are() -> None:
    stream = delta("x" * (4 * LONGEST_READ)) + FINISH + DONE

    out, reader = carry(stream, set(range(65536, len(stream), 65536)), hide=False)

    assert out == stream
    assert (reader.finish_reason, reader.done) == ("stop", True)


def test_data_may_stand_right_behind_the_colon_and_on_several_lines() -> None:
    assert sse.data_of(b"event: x\ndata:a\ndata: b\n\n") == b"a\nb"
    assert sse.data_of(b": comment\n\n") == b""


def test_an_error_inside_the_stream_is_told_by_its_code_only() -> None:
    _, reader = carry(delta("a") + b'data: {"error":{"message":"secret prompt","code":"boom"}}\n\n', set(), hide=False)

    assert reader.error == "boom"
