"""What a format is, and what all of them have of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from llm_one_api.reporting import layout
from llm_one_api.values import UsageRecord, Value


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes) -> object:
        """Add to it."""


class Writer(Protocol):
    """Writes calls in one format."""

    @property
    def rows(self) -> int:
        """How many it has written."""

    def add(self, calls: Sequence[UsageRecord]) -> None:
        """Write some."""

    def end(self) -> None:
        """Write what comes behind the last one."""


class FormatMissing(Exception):
    """A format wants a package that is not installed. The text says which."""


class Format(Value, frozen=True, kw_only=True):
    """A format, and how its files are named."""

    stem: str
    suffix: str
    open: Callable[[Sink, ZoneInfo], Writer]
    """Begin a file. Raises FormatMissing."""


def fields(call: UsageRecord, zone: ZoneInfo) -> dict[str, Any]:
    """Lay a call out as pages do, but without the provider's own usage object: only what we know the meaning of."""
    found = layout.of_call(call, zone)
    del found["usage_raw"]
    return found
