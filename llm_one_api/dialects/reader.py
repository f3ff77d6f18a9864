"""Reads a stream of events by the way: usage, model, finish reason, an error inside it, its end.

Only events that can tell something are parsed: the first, and those that have one of the dialect's marks in them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from llm_one_api.dialects import sse
from llm_one_api.dialects.told import Told

LONGEST_READ = 1024 * 1024
"""Bytes of an event at most that is read as a whole; of a longer one the two ends are."""
ENDS = 64 * 1024


class Answers(Protocol):
    """What a reader needs from its dialect."""

    def read_answer(self, body: bytes) -> Told | None:
        """Read a JSON object."""

    def read_ends(self, first: bytes, last: bytes, count: int = 0) -> Told | None:
        """Read the two ends of a long one."""


class StreamReader:
    """The part that all streams have in common; a dialect says what marks its telling events, and how to take them."""

    __slots__ = (
        "_long", "_long_last", "_long_size", "_started", "dialect", "done", "error", "error_raises", "finish_reason",
        "images", "model", "service_tier", "told_by_end", "usage_raw",
    )  # fmt: skip

    marks: ClassVar[tuple[bytes, ...]] = ()
    """What stands in each event that tells something, and rarely in others."""

    def __init__(self, dialect: Answers) -> None:
        """Have read nothing yet."""
        self.dialect = dialect
        self._started = False
        self._long = self._long_last = b""
        self._long_size = 0
        self.model: str | None = None
        self.service_tier: str | None = None
        self.usage_raw: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.images: int | None = None
        self.error: str | None = None
        self.error_raises = True
        """Whether the official SDK raises on the error event as the upstream sent it."""
        self.told_by_end = False
        """Whether the error stands in the event with which such a stream regularly ends, so that nothing broke off."""
        self.done = False
        """Nothing that counts comes any more."""

    def told(self) -> Told:
        """Sum up what the stream has told so far."""
        return Told(
            model=self.model,
            service_tier=self.service_tier,
            finish_reason=self.finish_reason,
            error=self.error,
            usage_raw=self.usage_raw,
            images=self.images,
        )

    @property
    def at_end(self) -> bool:
        """Whether a stream that ends here has come to its end."""
        return self.done or self.finish_reason is not None or self.error is not None

    # -- what a dialect says of itself --

    def count_marks(self, batch: bytes) -> int:
        """Count what may tell something in *batch*; it may be too many, never too few."""
        count = batch.count
        return sum([count(mark) for mark in self.marks])

    def take(self, data: bytes) -> bool:
        """Take in one event's data; tell whether the event is to be hidden from the caller."""
        told = self.dialect.read_answer(data)
        if told is not None:
            self.learn(told)
        return False

    def take_ends(self, first: bytes, last: bytes) -> None:
        """Take in an event of which only the two ends were kept."""
        told = self.dialect.read_ends(first, last)
        if told is not None:
            self.learn(told)

    def texts(self, batch: bytes) -> str:  # noqa: ARG002
        """Give the text that the events of *batch* bring, to count its tokens where they are not told."""
        return ""

    # -- reading --

    def learn(self, told: Told) -> None:
        """Keep what an event tells."""
        self.model = told.model or self.model
        self.service_tier = told.service_tier or self.service_tier
        self.finish_reason = told.finish_reason or self.finish_reason
        self.error = told.error or self.error
        if told.usage_raw is not None:
            self.usage_raw = told.usage_raw

    def feed(self, batch: bytes, whole: bool = True) -> bytes:
        """Read a batch of complete events; give what the caller is to get of it.

        Not *whole*: a part of an event that is too long to be held back. All of it passes, and is read at its end.
        """
        if not whole:
            self._keep_long(batch)
            return batch
        if self._long_size:
            return self._end_long(batch)
        if not self._started:
            self._begin(batch)
        marks = self.count_marks(batch)
        if not marks:
            return batch
        # What tells something stands at the end, so the search goes backwards and ends when all marks are found.
        telling = []
        for start, end in sse.spans_backwards(batch):
            found = self.count_marks(batch[start:end])
            if found:
                telling.append((start, end))
                marks -= found
                if marks <= 0:
                    break
        for start, end in reversed(telling):
            if self._read(sse.data_of(batch[start:end])):
                return self._without(batch, telling)
        return batch

    def _read(self, data: bytes) -> bool:
        if not data:
            return False
        if data == b"[DONE]":
            self.done = True
            return False
        return self.take(data)

    def _begin(self, batch: bytes) -> None:
        """Learn from the first event, which names the model, if it has no mark: then it is read anyway."""
        for event in sse.events(batch):
            data = sse.data_of(event)
            if data:
                if not self.count_marks(event):
                    told = self.dialect.read_answer(data)
                    if told is not None:
                        self.model, self.service_tier = told.model, told.service_tier
                self._started = True
                return

    def _without(self, batch: bytes, telling: list[tuple[int, int]]) -> bytes:
        """Take the events to hide out of *batch*; reads on to the last telling one."""
        kept, at = [], 0
        for start, end in reversed(telling):
            if self._read(sse.data_of(batch[start:end])):
                kept.append(batch[at:start])
                at = end
        kept.append(batch[at:])
        return b"".join(kept)

    # -- events that are too long to be held back --

    def _keep_long(self, piece: bytes) -> None:
        self._long_size += len(piece)
        if self._long_size <= LONGEST_READ:
            self._long += piece
        else:
            self._long_last = ((self._long_last or self._long[-ENDS:]) + piece)[-ENDS:]
            self._long = self._long[:ENDS]

    def _end_long(self, batch: bytes) -> bytes:
        """Read the long event whose end is at the front of *batch*, then the others."""
        before = (self._long_last or self._long)[-sse.LONGEST_BLANK :]
        end = sse.end_of_first(before + batch) - len(before)
        self._keep_long(batch[:end])
        first, last, size = self._long, self._long_last, self._long_size
        self._long = self._long_last = b""
        self._long_size = 0
        self._started = True
        if size <= LONGEST_READ:
            self._read(sse.data_of(first))
        else:
            self.take_ends(first, last)
        return batch[:end] + (self.feed(batch[end:]) if end < len(batch) else b"")
