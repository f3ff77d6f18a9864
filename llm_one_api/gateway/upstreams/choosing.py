"""Which upstreams of a model a call may go to, as they stand at this moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.upstreams.member import Group, Member


def choose(group: Group, endpoint: Endpoint, tried: Collection[Member], *, moves: bool) -> Member | None:
    """Choose among those that are well, have room and were not *tried*; one on trial goes first, one call at a time.

    Unless the call could not go on from there (*moves* is False): then only if there is nobody else. None: nobody.
    """
    usable: list[Member] = []
    trial: Member | None = None
    for member in group.all:
        if member in tried or not member.weight or not member.has_room or not serves(member, endpoint):
            continue
        standing = member.health.standing()
        if standing == "healthy":
            usable.append(member)
        elif standing == "trial" and member.health.may_be_tried:
            trial = trial or member
    if trial is not None and (moves or not usable):
        return trial
    if len(usable) > 1:
        return group.choose(usable)
    return usable[0] if usable else None


def first_back(group: Group, endpoint: Endpoint) -> Member | None:
    """Choose whoever rests and comes back first; who does not have the endpoint, only where nobody has it."""
    on = [member for member in group.all if member.weight]
    serving = [member for member in on if serves(member, endpoint)] or on
    return min(
        (member for member in serving if member.has_room), key=lambda one: one.health.condition.until, default=None
    )


def rouse(groups: Sequence[Group], endpoint: Endpoint, tried: Collection[Member]) -> Member | None:
    """Choose one that rests, but not for being slow: it may be well by now, or else that shows soon."""
    resting = [
        member
        for group in groups
        for member in group.all
        if member not in tried and member.weight and member.has_room and serves(member, endpoint)
        if member.health.standing() == "ejected" and not member.health.rests_for_slowness
    ]
    return min(resting, key=lambda member: member.health.condition.until, default=None)


def is_full(group: Group, endpoint: Endpoint) -> bool:
    """Whether somebody could take the call, had it not as many as it may have."""
    return any(
        member.weight
        and not member.has_room
        and member.health.standing() in {"healthy", "trial"}
        and serves(member, endpoint)
        for member in group.all
    )


def serves(member: Member, endpoint: Endpoint) -> bool:
    """Whether the upstream has the endpoint at all: not all adapters have all of them."""
    return member.plain or endpoint.is_served_by(member.target)
