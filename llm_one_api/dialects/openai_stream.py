"""How OpenAI's API streams chats and completions: what we read of it by the way. Bytes in, bytes and values out."""

from __future__ import annotations

from typing import Any

from llm_one_api.dialects import openai, sse


def _marks(batch: bytes) -> int:
    """Count what may be usage, a finish reason, an error or the end, six times faster than a pattern does."""
    count = batch.count
    usage, finish = count(b'"usage"'), count(b'"finish_reason"')
    if usage:
        usage -= count(b'"usage":null')
    if finish:
        finish -= count(b'"finish_reason":null')
    return usage + finish + count(b"[DONE]") + count(b'"error"')


LONGEST_READ = 1024 * 1024
"""Bytes of an event at most that is read although it is too long to be held back."""


class StreamReader:
    """Reads a chat or completions stream by the way: usage, model, finish reason, an error inside it, its end.

    Only events that can tell something are parsed: the first, and those of usage, a finish reason, an error, the end.
    """

    __slots__ = (
        "_hide_usage", "_long", "_started", "done", "error", "finish_reason", "model", "service_tier", "usage_raw",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool) -> None:
        """With *hide_usage* take out the event of empty `choices` and usage: the caller did not ask."""
        self._hide_usage = hide_usage
        self._started = False
        self._long = b""
        self.model: str | None = None
        self.service_tier: str | None = None
        self.usage_raw: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.done = False

    def feed(self, batch: bytes, whole: bool = True) -> bytes:
        """Read a batch of complete events; give what the caller is to get of it.

        Not *whole*: a part of an event that is too long to be held back. All of it passes, and is read at its end.
        """
        if not whole:
            if len(self._long) <= LONGEST_READ:
                self._long += batch
            return batch
        if self._long:
            return self._end_long(batch)
        if not self._started:
            self._begin(batch)
        marks = _marks(batch)
        if not marks:
            return batch
        # What tells something stands at the end, so the search goes backwards and ends when all marks are found.
        telling = []
        for start, end in sse.spans_backwards(batch):
            found = _marks(batch[start:end])
            if found:
                telling.append((start, end))
                marks -= found
                if marks <= 0:
                    break
        for start, end in reversed(telling):
            if self._read(sse.data_of(batch[start:end])):
                return self._without(batch, telling)
        return batch

    def _end_long(self, batch: bytes) -> bytes:
        """Read the long event whose end is at the front of *batch*, then the others."""
        long, self._long = self._long, b""
        end = sse.end_of_first(long[-sse.LONGEST_BLANK :] + batch) - min(len(long), sse.LONGEST_BLANK)
        if len(long) <= LONGEST_READ:
            self._started = True
            self._read(sse.data_of(long + batch[:end]))
        return batch[:end] + (self.feed(batch[end:]) if end < len(batch) else b"")

    def _begin(self, batch: bytes) -> None:
        for event in sse.events(batch):
            data = sse.data_of(event)
            if data:
                told = openai.read_answer(data)
                if told is not None:
                    self._started = True
                    self.model, self.service_tier = told.model, told.service_tier
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

    def _read(self, data: bytes) -> bool:
        """Take in one event's data; tell whether the event is to be hidden."""
        if not data:
            return False
        if data == b"[DONE]":
            self.done = True
            return False
        told = openai.read_answer(data)
        if told is None:
            return False
        self.model = told.model or self.model
        self.service_tier = told.service_tier or self.service_tier
        self.finish_reason = told.finish_reason or self.finish_reason
        self.error = told.error_code or self.error
        if not told.has_usage:
            return False
        self.usage_raw = told.usage_raw
        return self._hide_usage and not told.choices
