"""A disk that is full, in real processes: calls are served or refused as told, and each has one record afterwards.

`RLIMIT_FSIZE` stands in for the disk: writes end short or fail in the kernel, in processes that know nothing of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llm_one_api.books.relay.relay import Relay
from llm_one_api.stores.journal.entries import Closed
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.stores.journal.segments import list_segments
from tests.harness.calls import Sink, settle
from tests.harness.disks import fill, free
from tests.harness.gateway import Gateway, gateway, id_of, read_until, settings
from tests.harness.processes import wait_until
from tests.harness.relays import Ingest, Relays
from tests.harness.services import Valkey
from tests.harness.upstream import (
    CHAT,
    Upstream,
    json_answer,
    scripted,
    waits_for_go,
)

END = b"0\r\n\r\n"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


def journaling(upstream: Upstream, **journal: Any) -> dict[str, Any]:
    return {**settings(upstream.url), "journal": journal}


def calls(it: Gateway, count: int) -> list[str]:
    """Make *count* calls, all of which must be served; gives their ids."""
    answers = [it.post() for _ in range(count)]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.headers["x-request-id"] for answer in answers]


def recorded(it: Gateway) -> Counter[str]:
    return Counter(record.request_id for record in it.records())


def test_calls_are_served_on_a_full_disk_and_recorded_once_there_is_room(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, journaling(upstream, on_full="serve")) as it:
        (worker,) = it.workers()
        upstream.answer(waits_for_go)
        with it.begin(stream=True) as sock:
            begun_before = read_until(sock, b'"a"')
            upstream.scripts = [json_answer(200, CHAT)]
            before = calls(it, 3)

            fill(worker)
            during = calls(it, 10)
            upstream.seen[0].go.set()
            assert b"[DONE]" in read_until(sock, END)
            assert set(recorded(it)) == set(before)

        free(worker)
        after = calls(it, 3)

        everyone = [id_of(begun_before), *before, *during, *after]
        wait_until(lambda: len(recorded(it)) == len(everyone), what="all are recorded")
        assert recorded(it) == Counter(everyone)
        assert {record.usage.total_tokens for record in it.records()} == {170, 8}


def test_no_call_is_taken_that_cannot_be_recorded_where_so_configured(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, journaling(upstream, on_full="refuse")) as it:
        (worker,) = it.workers()
        upstream.answer(waits_for_go)
        with it.begin(stream=True) as sock:
            begun_before = read_until(sock, b'"a"')
            upstream.scripts = [json_answer(200, CHAT)]

            fill(worker)
            refused = [it.post() for _ in range(3)]
            upstream.seen[0].go.set()
            ended = read_until(sock, END)

        free(worker)
        after = wait_until(lambda: (answer := it.post()).status_code == 200 and answer, what="calls are taken again")

        assert b"[DONE]" in ended
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "journal_full")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert len(upstream.seen) == 2, "what was refused went nowhere"
        assert it.record(id_of(begun_before)).usage.total_tokens == 8
        assert {it.record(answer.headers["x-request-id"]).outcome for answer in refused} == {"rejected"}
        assert it.record(after.headers["x-request-id"]).outcome == "success"


def test_a_record_that_was_cut_short_is_believed_once_and_whole(upstream: Upstream, tmp_path: Path) -> None:
    with gateway(tmp_path, journaling(upstream)) as it:
        (worker,) = it.workers()
        before = calls(it, 10)
        (first,) = list_segments(it.journal)
        size = (it.journal / str(first)).stat().st_size

        fill(worker, size + 100)  # into the middle of the next OPEN
        during = calls(it, 1)

        reader = SegmentReader(it.journal / str(first))
        found = reader.read(final=True)
        assert (it.journal / str(first)).stat().st_size == size + 100
        assert (reader.torn, reader.at) == (1, size + 100)
        assert [f.entry.record.request_id for f in found if isinstance(f.entry, Closed)] == before
        assert recorded(it) == Counter([*before, *during])

        sink = Sink()
        settle(Relay(it.journal, publish=sink.publish, take_acks=sink.take_acks))
        assert sink.ids == [*before, *during]


def test_a_relay_goes_on_while_the_disk_is_full(
    upstream: Upstream, tmp_path: Path, session_valkey: Valkey, redis_url: str
) -> None:
    ingest = Ingest(session_valkey)
    journal = tmp_path / "data" / "journal"
    relays = Relays(journal, redis_url)
    try:
        relay = psutil.Process(relays.running().pid)
        made = {**journaling(upstream, segment_bytes=3000), "redis": {"url": redis_url}}
        with gateway(tmp_path, made) as it:
            (worker,) = it.workers()
            before = calls(it, 30)
            assert len(list_segments(journal)) > 3

            fill(worker)
            fill(relay)
            during = calls(it, 10)
            wait_until(lambda: ingest.take() >= len(before), what="what is on the disk arrives")
            wait_until(lambda: len(list_segments(journal)) == 1, what="what is acked is freed")
            assert set(ingest.records) == set(before)

            free(worker)
            after = calls(it, 3)
            wait_until(lambda: ingest.take() == len(before + during + after), what="all arrive")
            free(relay)

        assert ingest.times == Counter([*before, *during, *after])
        assert relay.is_running()
    finally:
        relays.close()
        ingest.close()
