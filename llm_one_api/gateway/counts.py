"""Puts counted tokens into the records whose upstream told none, after the caller has seen the end of the answer."""

from __future__ import annotations

from typing import Literal, Protocol

import gevent
import msgspec
import structlog

from llm_one_api.dialects.usage import faults_of
from llm_one_api.limits.charging import tokens_of
from llm_one_api.values import Permit, Usage, UsageRecord, Value

log = structlog.get_logger()

MOST_WAIT = 3.0
"""Seconds that a stopping process gives to the counts under way; the records are on disk without them."""

AT_ONCE = 0.01
"""Seconds."""

Kind = Literal["estimated", "partial"]


class Counted(Protocol):
    """What was counted. None: it could not be."""

    @property
    def prompt_tokens(self) -> int | None:
        """The input's."""

    @property
    def completion_tokens(self) -> int | None:
        """The output's."""


class Counting(Protocol):
    """Counts one call's tokens (`gateway/estimate.py`)."""

    def hear(self, text: str) -> None:
        """Take more of the answer's text."""

    def drop(self) -> None:
        """Forget everything: nothing has to be counted."""

    def finish(self) -> Counted:
        """Wait for the figures."""


class Journal(Protocol):
    """What is needed from the journal."""

    def close(self, record: UsageRecord) -> None:
        """Append a CLOSE."""


class Fill(Value, frozen=True, kw_only=True):
    """How counted figures are put into the places of those that were not told."""

    kind: Kind
    """`estimated`: the answer came to its end. `partial`: it was cut, and the figures are what had been seen."""
    output: bool = True
    """Whether the answer's text is output that is billed."""

    def into(self, usage: Usage, counted: Counted) -> Usage:
        """Fill *usage* up. What a cut answer had told of its output so far may be less than what was seen of it."""
        prompt = counted.prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        completion = usage.completion_tokens
        if self.output and counted.completion_tokens is not None and (completion is None or self.kind == "partial"):
            completion = max(completion or 0, counted.completion_tokens)
        total = usage.total_tokens
        if prompt is not None and (completion is not None or not self.output):
            total = prompt + (completion or 0)
        return msgspec.structs.replace(
            usage, prompt_tokens=prompt, completion_tokens=completion, total_tokens=total
        )  # fmt: skip


class Counts:
    """The counts under way in this process."""

    def __init__(self) -> None:
        """None yet."""
        self._under_way: set[gevent.Greenlet] = set()

    def later(self, journal: Journal, record: UsageRecord, counting: Counting, fill: Fill, permit: Permit) -> None:
        """Count, then write the CLOSE; nobody waits for it."""
        greenlet = gevent.spawn(_close, journal, record, counting, fill, permit)
        self._under_way.add(greenlet)
        greenlet.rawlink(self._under_way.discard)

    def settle(self, seconds: float = MOST_WAIT) -> None:
        """Wait for those under way, *seconds* at most; the relay takes the others as they stand."""
        gevent.joinall(list(self._under_way), timeout=seconds)
        gevent.killall(list(self._under_way))


def _close(journal: Journal, record: UsageRecord, counting: Counting, fill: Fill, permit: Permit) -> None:
    try:
        usage = fill.into(record.usage, counting.finish())
    except Exception as error:  # whatever it is, the record is not lost for it; its text may hold anything
        log.error("tokens.count_failed", kind=type(error).__name__)
        usage = record.usage
    if usage != record.usage:
        record = msgspec.structs.replace(
            record,
            usage=usage,
            usage_source=fill.kind,
            usage_faults=(*record.usage_faults, *[f for f in faults_of(usage) if f not in record.usage_faults]),
            output_tokens_per_second=speed(usage, record.duration, record.ttft, stream=record.stream),
            quota_tokens=tokens_of(record.outcome, usage, permit) if permit.windows else None,
        )
    journal.close(record)


def speed(usage: Usage, duration: float | None, ttft: float | None, *, stream: bool) -> float | None:
    """Tell how many tokens a second were put out: of a stream since its first byte, else since the call came.

    A stream that came all at once says nothing of how fast it was put out, so it is taken as a whole answer is.
    """
    tokens = usage.completion_tokens
    if tokens is None or duration is None:
        return None
    seconds = duration - ttft if stream and ttft is not None else 0.0
    if seconds < AT_ONCE:
        seconds = duration
    return round(tokens / seconds, 3) if seconds > 0 else None
