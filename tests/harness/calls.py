"""Calls to put into a journal, and what is left of a writer that was killed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llm_one_api.books.relay.relay import Relay
from llm_one_api.stores.journal.entries import Entry, Opened
from llm_one_api.stores.journal.reader import SegmentReader
from llm_one_api.stores.journal.segments import list_segments
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.values import Caller, Usage, UsageRecord

AT = datetime(2026, 11, 24, 3, 55, tzinfo=UTC)


def opened(request_id: str) -> Opened:
    """A call to a chat model."""
    caller = Caller(key="key_3f9a1c22", user="dev")
    return Opened(request_id=request_id, at=AT, caller=caller, model="gpt-4o", upstream="main", endpoint="chat")


def record(request_id: str, tokens: int = 7) -> UsageRecord:
    """The end of such a call."""
    return UsageRecord(
        request_id=request_id,
        at=AT,
        model="gpt-4o",
        user="dev",
        key="key_3f9a1c22",
        endpoint="chat",
        outcome="success",
        status=200,
        upstream="main",
        usage=Usage(total_tokens=tokens),
        usage_source="reported",
    )


def kill(journal: Journal) -> None:
    """Leave a journal as a kill -9 leaves it: the kernel closes its files, and that is all."""
    for fd in [*journal._sealed, *([journal._fd] if journal._fd >= 0 else [])]:
        os.close(fd)
    journal._sealed.clear()
    journal._fd = -1


def entries(folder: Path) -> list[Entry]:
    """Everything that can be read in a journal, segment by segment."""
    found: list[Entry] = []
    for name in list_segments(folder):
        reader = SegmentReader(folder / str(name))
        while not reader.done:
            found += [item.entry for item in reader.read(final=True)]
    return found


class Sink:
    """Takes what a relay in this process publishes, and acks it unless told not to."""

    def __init__(self) -> None:
        """Begin empty."""
        self.batches: list[tuple[str, list[UsageRecord], float]] = []
        self.acks: list[str] = []
        self.acking = True
        self.away = False

    def publish(self, batch_id: str, lines: list[str], expires: float) -> None:
        """Keep a batch."""
        if self.away:
            raise ConnectionError
        self.batches.append((batch_id, [msgspec.json.decode(line, type=UsageRecord) for line in lines], expires))
        if self.acking:
            self.acks.append(batch_id)

    def take_acks(self) -> list[str]:
        """Hand out the acks."""
        if self.away:
            raise ConnectionError
        acks, self.acks = self.acks, []
        return acks

    @property
    def ids(self) -> list[str]:
        """Whose records came, in order."""
        return [record.request_id for _, records, _ in self.batches for record in records]

    @property
    def records(self) -> dict[str, UsageRecord]:
        """The last record that came of each call."""
        return {record.request_id: record for _, records, _ in self.batches for record in records}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at no particular time."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def settle(relay: Relay, turns: int = 10_000) -> None:
    """Let a relay turn until all that it can read now is acked."""
    for _ in range(turns):
        if not relay.turn(urgent=True) and relay.window.is_empty:
            return
    raise AssertionError("the relay does not come to rest")


class NoBody:
    """The body of a request that has none."""

    length: int | None = 0
    content_type = ""

    def check(self) -> None:
        """There is nothing to be said against it."""

    def whole(self) -> bytes:
        return b""

    def piece(self) -> bytes:
        return b""
