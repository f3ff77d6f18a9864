"""How a stream is recorded where no upstream and no caller is at fault. What those do: `tests/functional`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.dialects.dialect import Dialect
from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.gateway.admit import NO_GRANT
from llm_one_api.gateway.answer import UNCOUNTED, Uncounted
from llm_one_api.gateway.counts import Counts
from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.gateway.prepare import Outgoing
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.stream import Stream
from llm_one_api.gateway.watch import Bounds, Watch
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.targets import Upstream
from llm_one_api.values import UsageRecord
from tests.harness.calls import opened
from tests.harness.dialect_streams import STREAMS
from tests.harness.upstream import DONE, FINISH, USAGE, delta


class Records:
    """A journal in memory."""

    full = False

    def __init__(self) -> None:
        self.closed: list[UsageRecord] = []

    def open(self, opened: Opened) -> None:
        """Forget it."""

    def end(self, record: UsageRecord) -> None:
        """Wait for its CLOSE."""

    def close(self, record: UsageRecord) -> None:
        """Keep it."""
        self.closed.append(record)


class Answer:
    """An upstream's stream that has arrived as a whole, in pieces."""

    upstream = Upstream(name="u", base_url="http://u/v1")
    status, has_body = 200, True

    def __init__(self, *pieces: bytes, dialect: Dialect = CHAT, hides_usage: bool = False) -> None:
        self._pieces = list(pieces)
        self.ready = Outgoing(head=b"", body=b"", upstream=self.upstream, model="m", dialect=dialect)
        self.ready.hides_usage = hides_usage
        self.over = ""

    @property
    def connection(self) -> Answer:
        return self

    @property
    def complete(self) -> bool:
        return not self._pieces

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    @property
    def turn(self) -> Uncounted:
        return UNCOUNTED

    def begins(self, entry: Entry) -> None:
        entry.first_byte_at = time.monotonic()

    def finish(self) -> None:
        self.over = self.over or "finished"

    def abort(self) -> None:
        self.over = self.over or "aborted"


class Broken(StreamReader):
    """A reader with a fault."""

    def feed(self, batch: bytes, whole: bool = True) -> bytes:
        raise ZeroDivisionError


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch(Bounds())
    yield watch
    assert watch.active == 0


def make(answer: Answer, records: Records, watch: Watch, endpoint: Endpoint = ENDPOINTS[0]) -> Stream:
    entry = Entry(records, Counts(), opened("a"), 0.0, NO_GRANT)
    return Stream(answer, endpoint, entry, watch.enter(-1), watch)  # type: ignore[arg-type]


def test_a_whole_stream_is_recorded_before_its_end_is_handed_on(records: Records, watch: Watch) -> None:
    answer = Answer(delta("a"), FINISH + USAGE + DONE)
    stream = make(answer, records, watch)

    seen = [next(stream)]
    before = list(records.closed)
    seen.append(next(stream))

    assert b"".join(seen) == delta("a") + FINISH + USAGE + DONE
    assert (before, len(records.closed)) == ([], 1)
    assert list(stream) == []
    stream.close()
    assert [(r.outcome, r.usage.total_tokens) for r in records.closed] == [("success", 8)]
    assert answer.over == "finished"


def test_a_stream_that_nobody_begins_to_read_is_recorded(records: Records, watch: Watch) -> None:
    answer = Answer(delta("a"), DONE)

    make(answer, records, watch).close()

    assert [r.outcome for r in records.closed] == ["client_gone"]
    assert answer.over == "aborted"


@pytest.mark.parametrize("ends", [[], [DONE]], ids=["early", "with DONE"])
def test_an_error_of_the_upstreams_is_why_a_caller_left_that_was_told_of_it(
    records: Records, watch: Watch, ends: list[bytes]
) -> None:
    error = b'data: {"error":{"message":"m","type":"server_error","code":"boom"}}\n\n'
    told, left_before = (make(Answer(*pieces, *ends), records, watch) for pieces in ([error], [delta("a"), error]))

    for stream in (told, left_before):
        next(stream)
        stream._visit.client_gone = True
        with pytest.raises(StreamBroken):
            next(stream)
        stream.close()

    assert [(r.outcome, r.error) for r in records.closed] == [("stream_error", "boom"), ("client_gone", "client_gone")]


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_fault_of_ours_ends_the_stream_with_an_error_event_and_counts_as_aborted(
    records: Records, watch: Watch, at_the_end: bool
) -> None:
    pieces = [delta("a")[:-2]] if at_the_end else [delta("a"), DONE]
    answer = Answer(*pieces)
    stream = make(answer, records, watch)
    stream._reader = Broken(CHAT)

    last = next(stream)
    with pytest.raises(StreamBroken):
        next(stream)
    stream.close()

    assert b'"code":"internal_error"' in last
    assert [(r.outcome, r.error) for r in records.closed] == [("aborted", "internal_error")]
    assert answer.over


ENDPOINT_OF = {"chat": "chat", "responses": "responses", "messages": "messages", "transcription": "transcriptions",
               "images": "images"}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
def test_how_the_network_cuts_a_stream_changes_neither_a_byte_nor_the_record(name: str, data: st.DataObject) -> None:
    example = STREAMS[name]
    cuts = data.draw(st.sets(st.integers(1, len(example.stream) - 1), max_size=30))
    pieces = [example.stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(example.stream)])]
    hides = name == "chat" and data.draw(st.booleans())
    [endpoint] = [endpoint for endpoint in ENDPOINTS if endpoint.name == ENDPOINT_OF[name]]
    records, watch = Records(), Watch(Bounds())

    stream = make(Answer(*pieces, dialect=example.dialect, hides_usage=hides), records, watch, endpoint)
    seen = b"".join(stream)
    stream.close()

    usage_event = next((e + b"\n\n" for e in example.stream.split(b"\n\n") if b'"choices": []' in e), b"")
    assert seen == (example.stream.replace(usage_event, b"") if hides else example.stream)
    [record] = records.closed
    assert (record.outcome, record.usage, record.usage_source) == ("success", example.usage, "reported")
    assert (record.usage_raw, record.finish_reason) == (example.told.usage_raw, example.told.finish_reason)
    assert (record.response_model, record.service_tier) == (example.told.model, example.told.service_tier)
