"""Lays out what a process tells the others of its upstreams, and reads what they tell; all times by Redis's clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import gevent

from llm_one_api.gateway.upstreams import health
from llm_one_api.gateway.upstreams.health import Others
from llm_one_api.gateway.upstreams.member import Group, Member
from llm_one_api.stores.upstreams.messages import (
    CallFigures,
    Condition,
    MemberFigures,
    ModelFigures,
    ProcessFigures,
    Standing,
)

MILLION = 10**6
_LATE = 300.0
"""Seconds after which a streak is told no more; an answer is told as long as any streak that it ends."""
_AT_ONCE = 50
"""Upstreams whose figures are laid out before others on the hub have their turn."""


def figures(
    groups: Iterable[Group],
    calls: Mapping[str, tuple[int, int]],
    config_read_at: float,
    offset: float,
    *,
    all_in_flight: bool = False,
) -> ProcessFigures:
    """Lay out what the pages show. *all_in_flight*: also of those whose standings tell it."""
    models, count = [], 0
    for group in groups:
        upstreams = []
        for member in group.all:
            upstreams.append(_figures(member, offset, all_in_flight=all_in_flight))
            count += 1
            if count % _AT_ONCE == 0:
                gevent.sleep(0)
        models.append(
            ModelFigures(
                model=group.route.model,
                strategy=group.route.balance.strategy,
                fallbacks=group.route.fallbacks,
                waiting=len(group.waiting),
                upstreams=upstreams,
            )
        )
    return ProcessFigures(config_read_at=micros(config_read_at, offset), models=models, calls=CallFigures(keys=calls))


def _figures(member: Member, offset: float, *, all_in_flight: bool) -> MemberFigures:
    sums, error = member.figures.told(), member.last_error
    return MemberFigures(
        name=member.name,
        weight=member.weight,
        max_concurrent=member.target.upstream.max_concurrent,
        kept=member.health.kept,
        in_flight=member.own_in_flight if all_in_flight or not member.is_shared else 0,
        requests=sums.requests,
        failures=sums.failures,
        ttft=sums.ttft,
        duration=sums.duration,
        error=error.code if error else None,
        error_at=micros(error.at, offset) if error else 0,
    )


def standings(shared: Iterable[Member], now: float, offset: float) -> list[Standing]:
    """Tell of those that have something under way, or had of late."""
    found = []
    late = now - _LATE
    for member in shared:
        of = member.health
        if member.own_in_flight or of.last_answered > late or of.last_failed > late:
            requests, failures = of.seen()
            times = micros(of.last_answered, offset), micros(of.last_failed, offset)
            found.append(Standing(member.key, member.own_in_flight, of.streak, requests, failures, *times))
    return found


def summed(told: Sequence[Standing], processes: int, answered_at: int) -> Others:
    """Add up the others' part. Failures come one after the other only if nobody was answered after them."""
    if not told:
        return Others(processes=processes)
    answered = max(answered_at, *[one.answered_at for one in told])
    return Others(
        in_flight=sum(one.in_flight for one in told),
        streak=sum(one.streak for one in told if one.failed_at > answered),
        requests=sum(one.requests for one in told),
        failures=sum(one.failures for one in told),
        processes=processes,
    )


def outward(condition: health.Condition, offset: float) -> Condition:
    """Lay a condition out."""
    return Condition(
        state=condition.state,
        why=condition.why,
        until=micros(condition.until, offset),
        since=micros(condition.since, offset),
        rests=condition.rests,
    )


def inward(condition: Condition, offset: float, *, since: float) -> health.Condition:
    """Read a condition; *since*: by our clock, as it is to be compared."""
    return health.Condition(
        state=condition.state,
        why=condition.why,
        until=condition.until / MILLION - offset if condition.until else 0.0,
        since=since,
        rests=condition.rests,
    )


def micros(at: float, offset: float) -> int:
    """Give a time of ours as one of Redis's, whose clock is *offset* seconds ahead; 0 stays: never."""
    return round((at + offset) * MILLION) if at else 0
