"""How a stream is recorded where no upstream and no caller is at fault. What those do: `tests/functional`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm_one_api.dialects.openai_chat import CHAT
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.gateway.counts import Counts
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.prepare import Outgoing
from llm_one_api.gateway.record import Entry
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.stream import Stream
from llm_one_api.gateway.watch import Bounds, Watch
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.values import Upstream, UsageRecord
from tests.harness.calls import opened
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

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.ready = Outgoing(head=b"", body=b"", upstream=self.upstream, model="m", dialect=CHAT)
        self.over = ""

    @property
    def connection(self) -> Answer:
        return self

    @property
    def complete(self) -> bool:
        return not self._pieces

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

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


def make(answer: Answer, records: Records, watch: Watch) -> Stream:
    entry = Entry(records, Counts(), opened("a"), 0.0)
    return Stream(answer, ENDPOINTS[0], entry, watch.enter(-1), watch)  # type: ignore[arg-type]


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
