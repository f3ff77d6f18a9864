"""What processes tell one another of the upstreams. Times are µs since 1970 by the clock of Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec


class Standing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How an upstream stands in one process."""

    key: str
    """Its name among processes."""
    in_flight: int
    streak: int
    """Failures since the last call that was answered there."""
    requests: int
    failures: int
    """Of the last minute."""
    answered_at: int
    """When it answered a call last; 0: never."""
    failed_at: int


class Condition(msgspec.Struct, array_like=True, frozen=True, kw_only=True, gc=False):
    """Whether an upstream can take calls, as some process has found."""

    state: Literal["healthy", "paused", "ejected"]
    why: str
    until: int
    since: int
    rests: int


class MemberFigures(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What one process tells of an upstream of a model."""

    name: str
    weight: int
    max_concurrent: int | None
    kept: bool
    """Whether it would rest, were it not the last one."""
    in_flight: int
    """Calls that it has under way there, where no `Standing` tells of them."""
    requests: int
    failures: int
    ttft: dict[int, int]
    duration: dict[int, int]
    """Calls by bucket (`stores/buckets.py`)."""
    error: str | None
    """What failed there last; a code."""
    error_at: int


class ModelFigures(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What one process tells of a model. Where it goes is what that process's config says."""

    model: str
    strategy: str
    fallbacks: Sequence[str]
    waiting: int
    """Calls that wait for room."""
    upstreams: Sequence[MemberFigures]


class CallFigures(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What one process tells of its calls, whatever upstreams they go to."""

    keys: Mapping[str, tuple[int, int]] = {}
    """By the key's fingerprint: calls under way, and calls that came in the last minute. Keys that have neither are
    left out."""


class ProcessFigures(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What one process tells of all that it knows."""

    config_read_at: int
    """When the config was read that it goes by: of two that differ the later one holds."""
    models: Sequence[ModelFigures]
    calls: CallFigures = CallFigures()
    """A process of an older version tells none."""


class Turn(NamedTuple):
    """What a process hears of the others."""

    now: int
    version: str
    """Of the conditions: to be given next time, so that they come only if one has changed."""
    others: int
    """Processes beside this one."""
    standings: Sequence[Sequence[Standing]]
    conditions: dict[str, Condition]


class Told(NamedTuple):
    """What pages show."""

    now: int
    processes: dict[str, ProcessFigures]
    standings: Sequence[Sequence[Standing]]
    conditions: dict[str, Condition]
