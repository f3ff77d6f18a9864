"""Writes invented calls into a journal as a gateway does, and measures what that costs it."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from uuid import UUID

from llm_one_api.cli.benching.calls import Invented, invent
from llm_one_api.errors import Overloaded
from llm_one_api.gateway.admit import NO_GRANT
from llm_one_api.gateway.counts import Counts, Fill
from llm_one_api.gateway.record import Entry, Record
from llm_one_api.stores.journal import Journal
from llm_one_api.targets import Target
from llm_one_api.values import Attempt, Call, Value

IN_FLIGHT = 20
"""Calls that are open at a time."""
SPAN = 3600.0
"""Seconds, up to now, over which the calls are spread."""
_CHUNK = 1000
_SYNC_EVERY = 0.5


class Filled(Value, frozen=True, kw_only=True):
    """What it took."""

    calls: int
    cpu_seconds: float
    bytes: int


class _NoBody:
    """The body of a call that has none to be read."""

    length: int | None = 0
    content_type = "application/json"

    def check(self) -> None:
        """Find nothing wrong."""

    def whole(self) -> bytes:
        """Give nothing."""
        return b""

    def piece(self) -> bytes:
        """Give nothing."""
        return b""


class _Known:
    """Tokens whose count is known before it is asked for: to count is the work of another process."""

    def __init__(self, figures: tuple[int, int]) -> None:
        self.prompt_tokens, self.completion_tokens = figures

    def hear(self, text: str) -> None:
        """Take nothing."""

    def drop(self) -> None:
        """Forget nothing."""

    def finish(self) -> _Known:
        """Give the figures."""
        return self


class _Times:
    """When the next call is admitted."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def fill(
    folder: Path, calls: int, targets: Mapping[str, Target], *, seed: int = 1, stopping: Callable[[], bool]
) -> Filled:
    """Write *calls* finished calls into the journal *folder*, or fewer if *stopping*.

    Measured is what the gateway's last stage does: to open a call's entry, and to make its record and close it. Ids
    and all else that belongs to other stages is made ready outside.
    """
    journal = Journal(folder)
    times, counts = _Times(), Counts()
    record = Record(journal, counts, clock=times)
    chance = random.Random(seed)  # noqa: S311
    left = cycle(list(invent(targets, seed)))
    begin, step = datetime.now(UTC) - timedelta(seconds=SPAN), timedelta(seconds=SPAN / calls)
    under_way: deque[tuple[Invented, Entry, float]] = deque()
    done, spent, synced = 0, 0.0, time.monotonic()
    while done < calls and not stopping():
        ready = list(_ready(islice(left, min(_CHUNK, calls - done)), begin + done * step, step, chance))
        cpu = time.process_time()
        for invented, call, at in ready:
            times.now = at
            if invented.outcome == "rejected":
                _reject(record, invented, call)
                continue
            if len(under_way) >= IN_FLIGHT:
                _end(*under_way.popleft())
            under_way.append((invented, _open(record, invented, call), call.started))
        if done + len(ready) == calls:
            while under_way:
                _end(*under_way.popleft())
        counts.settle()
        if time.monotonic() - synced >= _SYNC_EVERY:
            journal.sync()
            synced = time.monotonic()
        spent += time.process_time() - cpu
        done += len(ready)
    while under_way:
        _end(*under_way.popleft())
    counts.settle()
    journal.shut()
    return Filled(calls=done, cpu_seconds=spent, bytes=sum(path.stat().st_size for path in folder.glob("*.seg")))


def _ready(
    kinds: Iterator[Invented], begin: datetime, step: timedelta, chance: random.Random
) -> Iterator[tuple[Invented, Call, datetime]]:
    body = _NoBody()
    now = time.monotonic()
    for number, invented in enumerate(kinds):
        at = begin + number * step
        call = Call(
            id=_id(at, chance),
            started=now - invented.duration,
            endpoint=invented.endpoint,
            api_key="",
            path="/v1/chat/completions",
            body=body,
            tags=invented.tags,
            client_request_id=f"{chance.getrandbits(64):016x}" if number % 4 == 0 else None,
            sdk_retry_count=0 if number % 2 else None,
        )
        yield invented, call, at


def _id(at: datetime, chance: random.Random) -> str:
    """Make a UUIDv7 of that moment."""
    milliseconds = int(at.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)))


def _open(record: Record, invented: Invented, call: Call) -> Entry:
    return record.open(
        call, invented.caller, invented.target, NO_GRANT, stream=invented.stream, end_user=invented.end_user
    )


def _reject(record: Record, invented: Invented, call: Call) -> None:
    record.reject(call, invented.caller, Overloaded("full"), model=invented.target.model, stream=invented.stream)


def _end(invented: Invented, entry: Entry, started: float) -> None:
    entry.attempts.append(Attempt(upstream=invented.target.upstream.name, status=invented.status, duration=0.2))
    if invented.ttft is not None:
        entry.first_byte_at = started + invented.ttft
        entry.provider_request_id = "req_0123456789abcdef"
    count = None
    if invented.counted is not None:
        entry.counting = _Known(invented.counted)
        count = Fill(kind="partial" if invented.cut else "estimated")
    entry.close(
        invented.outcome,
        status=invented.status,
        error=invented.error,
        told=invented.told,
        measured=invented.measured,
        cut=invented.cut,
        count=count,
    )
