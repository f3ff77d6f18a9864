"""Fourth stage: which of a model's upstreams gets the call, and which gets it when that one fails.

A call goes on to another upstream only while nothing of an answer has been passed on to its caller. Asked are, in this
order: who is healthy, as the model's strategy chooses (one on trial goes first, one call at a time); the fallback
models' upstreams; who rests, but not for being slow. And where nobody has been asked yet, whoever is back first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from gevent.event import Event

from llm_one_api.dialects.refusals import is_too_long
from llm_one_api.errors import GatewayError, Overloaded, UpstreamFailed
from llm_one_api.gateway import judging
from llm_one_api.gateway.answer import Answer, ended_by
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.prepare import Unsupported
from llm_one_api.gateway.upstreams.member import Group, Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.turn import Turn
from llm_one_api.gateway.watch import Cut, Visit
from llm_one_api.targets import ModelRoute, Target

Routes = Callable[[], Iterable[ModelRoute]]

_USABLE = 300
_NOW = 1.0
"""Seconds: when to come back, where there is no telling."""


class Busy(Overloaded):
    """All upstreams of the model have as many calls as they may, and none of them ended in time."""

    code = "upstream_busy"


class Trip:
    """One call's way over the upstreams of its model, and of those that stand in for it."""

    __slots__ = (
        "_endpoint",
        "_failure",
        "_fallbacks",
        "_group",
        "_has_fallbacks",
        "_members",
        "_retries",
        "_tried",
        "_visit",
        "turn",
    )

    def __init__(
        self, members: Members, route: ModelRoute, fallbacks: Routes, endpoint: Endpoint, visit: Visit
    ) -> None:
        self._members = members
        self._group = members.group(route)
        self._endpoint = endpoint
        self._visit = visit
        self._retries = route.balance.max_retries
        self._has_fallbacks = bool(route.fallbacks)
        self._fallbacks: Iterator[ModelRoute] = _lazily(fallbacks) if route.fallbacks else iter(())
        self._tried: list[Member] = []
        self._failure: GatewayError | None = None
        """What the upstream before came to."""
        self.turn = self._first()

    @property
    def target(self) -> Target:
        """Where the call goes now."""
        return self.turn.member.target

    @property
    def may_move(self) -> bool:
        """Whether somebody else may be asked, should this upstream fail."""
        group = self._group
        return (self._retries > 0 and len(group.all) > len(self._tried)) or self._has_fallbacks

    def judge(self, answer: Answer, *, again: bool) -> Answer | None:
        """Tell the upstream's health of the answer; give what is to be passed on. None: ask the next, `target`.

        *again*: the call can be sent once more. Raises a GatewayError if what the upstream refuses cannot be read.
        """
        status, turn = answer.status, self.turn
        if status < _USABLE:
            return answer
        moves = False
        self._failure = None
        if judging.asks_elsewhere(status):
            if status == judging.TOO_MANY:
                turn.limited(judging.pause_of(answer.headers))
            elif judging.is_ill(status):
                turn.failed(f"http_{status}")
            else:
                turn.shrugged()
            moves = again and self.move()
        elif status in judging.TOO_LONG and again and self._is_too_long(answer):
            turn.first_byte(status, time.monotonic())
            self._retries = 0  # no other upstream of this model takes more of it
            moves = self.move()
        if not moves:
            return answer
        self._failure = UpstreamFailed(
            "The model's upstream failed, and no other can take this call.", code=f"http_{status}"
        )
        answer.discard()
        return None

    def failed(self, error: GatewayError, *, again: bool) -> None:
        """Go on after there was no usable answer, which the upstream's health is told. Raises if nobody else is there.

        An `Unsupported` is no failure of the upstream's: it only is no help, so that what happened before counts.
        """
        if isinstance(error, Unsupported):
            self.turn.shrugged()
            error = self._failure or error
        else:
            self.turn.failed(error.code)
            self._failure = error
        if again and self.move():
            return
        if error.retry_after is None and not isinstance(error, Unsupported):
            error.retry_after = self._back_in()
        raise error

    def move(self) -> bool:
        """Go on to the next upstream that can take the call, if there is one, and time and tries are left."""
        if time.monotonic() >= self._visit.total_deadline:
            return False
        if self._retries > 0:
            member = self._choose(self._group)
            if member is not None:
                self._retries -= 1
                self._take(member)
                return True
        return self._fall_back() or self._try_resting()

    def end(self) -> None:
        """Note that the call is over, or is not made."""
        self.turn.over()

    def _is_too_long(self, answer: Answer) -> bool:
        """Whether a model with more room for it may take the call."""
        return self._has_fallbacks and is_too_long(answer.refusal(self._visit))

    # -- choosing --

    def _first(self) -> Turn:
        group = self._group
        if len(group.all) == 1 and not group.all[0].is_shared:  # there is nothing to choose
            return self._begin(group.all[0])
        member = None if group.waiting else self._choose(group)
        if member is None and self._is_full(group):
            member = self._queue(group)
        if member is not None:
            return self._begin(member)
        if self._fall_back(first=True):
            return self.turn
        left = [m for m in group.all if m.has_room and m.weight]
        if not left:
            raise Busy(
                "The model's upstreams have all the calls that they can take. Try again.", retry_after=self._back_in()
            )
        # Whoever does not have the endpoint says so when the call is made ready.
        left = [m for m in left if _serves(m, self._endpoint)] or left
        return self._begin(min(left, key=lambda m: m.health.condition.until))

    def _fall_back(self, *, first: bool = False) -> bool:
        for route in self._fallbacks:
            group = self._members.group(route)
            self._tried.clear()
            member = self._choose(group)
            if member is not None:
                self._group = group
                self._retries = route.balance.max_retries
                if first:
                    self.turn = self._begin(member)
                else:
                    self._take(member)
                return True
        return False

    def _try_resting(self) -> bool:
        """Ask one that rests, but not for being slow: it may be well by now, or else that shows soon."""
        group = self._group
        resting = [
            member
            for member in group.all
            if member not in self._tried and member.weight and member.has_room and _serves(member, self._endpoint)
            if member.health.standing() == "ejected" and not member.health.rests_for_slowness
        ]
        if not resting or self._retries <= 0:
            return False
        self._retries -= 1
        self._take(min(resting, key=lambda member: member.health.condition.until))
        return True

    def _choose(self, group: Group) -> Member | None:
        """Choose among those that are well and have room; one that may be tried again goes first, once."""
        usable: list[Member] = []
        for member in group.all:
            if member in self._tried or not member.weight or not member.has_room or not _serves(member, self._endpoint):
                continue
            standing = member.health.standing()
            if standing == "healthy":
                usable.append(member)
            elif standing == "trial" and member.health.may_be_tried:
                return member
        if len(usable) > 1:
            return group.choose(usable)
        return usable[0] if usable else None

    def _take(self, member: Member) -> None:
        self.turn.over()
        self.turn = self._begin(member)

    def _begin(self, member: Member) -> Turn:
        self._tried.append(member)
        return Turn(member, trial=member.health.standing() == "trial")

    # -- waiting for room --

    def _is_full(self, group: Group) -> bool:
        """Whether somebody could take the call, had it not as many as it may have."""
        return any(
            member.weight and not member.has_room and _can_be_asked(member) and _serves(member, self._endpoint)
            for member in group.all
        )

    def _queue(self, group: Group) -> Member | None:
        """Wait until an upstream has room; None: none had in time, or too many wait."""
        balance = group.route.balance
        until = time.monotonic() + balance.queue_timeout
        place = len(group.waiting)
        while len(group.waiting) < balance.max_queue and (left := until - time.monotonic()) > 0:
            event = Event()
            wake = event.set
            group.waiting.insert(place, wake)
            self._visit.wait("queue", left + 1)
            try:
                event.wait(left)
            except Cut as cut:
                raise ended_by(cut.why) from None
            finally:
                self._visit.go_on()
                if wake in group.waiting:
                    group.waiting.remove(wake)
            place = 0  # who has waited goes before who has not
            member = self._choose(group)
            if member is not None:
                return member
        return None

    def _back_in(self) -> float:
        """Tell in how many seconds it is worth another try."""
        now = time.time()
        waits = [
            m.health.condition.until - now for m in self._group.all if m.health.standing() in {"paused", "ejected"}
        ]
        return max(_NOW, min(waits)) if len(waits) == len(self._group.all) else _NOW


class Balance:
    """Sends calls on their trips."""

    def __init__(self, members: Members) -> None:
        """Spread calls over *members*."""
        self.members = members

    def __call__(self, route: ModelRoute, fallbacks: Routes, endpoint: Endpoint, visit: Visit) -> Trip:
        """Choose the first upstream; its turn has begun. *fallbacks* gives the routes of those that may stand in.

        Raises Busy, or what ends a call that waits for room.
        """
        return Trip(self.members, route, fallbacks, endpoint, visit)


def _can_be_asked(member: Member) -> bool:
    return member.health.standing() in {"healthy", "trial"}


def _serves(member: Member, endpoint: Endpoint) -> bool:
    """Whether the upstream has the endpoint at all: not all adapters have all of them."""
    return member.plain or endpoint.is_served_by(member.target)


def _lazily(routes: Routes) -> Iterator[ModelRoute]:
    yield from routes()
