"""Fourth stage: which of a model's upstreams gets the call, and which gets it when that one fails.

A call goes on to another upstream only while nothing of an answer has been passed on to its caller. Asked are, in this
order: who is healthy, as the model's strategy chooses (one on trial goes first, one call at a time); the fallback
models' upstreams; who rests, but not for being slow. And where nobody has been asked yet, whoever is back first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import structs

from llm_one_api.dialects.refusals import is_too_long
from llm_one_api.errors import GatewayError, Overloaded, UpstreamFailed
from llm_one_api.gateway import judging
from llm_one_api.gateway.answer import TOTAL, Answer, ended_by
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.prepare import Unsupported
from llm_one_api.gateway.upstreams.choosing import choose, first_back, is_full, rouse
from llm_one_api.gateway.upstreams.member import Group, Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.queue import wait_for_room
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
        "_again", "_endpoint", "_failure", "_fallbacks", "_group", "_groups", "_has_fallbacks", "_members",
        "_model", "_retries", "_tried", "_visit", "turn",
    )  # fmt: skip

    def __init__(
        self,
        members: Members,
        route: ModelRoute,
        fallbacks: Routes,
        endpoint: Endpoint,
        visit: Visit,
        *,
        started: float,
        again: bool,
    ) -> None:
        self._members = members
        self._model = route.model
        self._group = members.group(route)
        self._groups = [self._group]
        """Those that the call came to."""
        self._endpoint = endpoint
        self._visit = visit
        self._again = again
        self._retries = route.balance.max_retries
        self._has_fallbacks = bool(route.fallbacks)
        self._fallbacks: Iterator[ModelRoute] = _lazily(fallbacks) if route.fallbacks else iter(())
        self._tried: list[Member] = []
        self._failure: GatewayError | None = None
        """What the upstream before came to."""
        visit.total_deadline = min(visit.total_deadline, started + self._group.total_timeout)
        self.turn = self._first()

    @property
    def target(self) -> Target:
        """Where the call goes now."""
        return self.turn.member.target

    @property
    def charged(self) -> Target:
        """The same, as a target of the model that was asked for: it is that one's limits that hold, and its record."""
        target = self.target
        return target if target.model == self._model else structs.replace(target, model=self._model)

    @property
    def may_move(self) -> bool:
        """Whether somebody else may be asked, should this upstream fail."""
        if not self._again:
            return False
        return self._has_fallbacks or (self._retries > 0 and any(m not in self._tried for m in self._group.all))

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
            if error.code == TOTAL:
                self.turn.shrugged()
            else:
                self.turn.failed(error.code)
            self._failure = error
        if self._visit.client_gone:
            raise ended_by("client_gone")
        if again and self.move():
            return
        if error.retry_after is None and not isinstance(error, Unsupported):
            error.retry_after = self._back_in()
        raise error

    def move(self) -> bool:
        """Go on to the next upstream that can take the call, if there is one, and time and tries are left."""
        if time.monotonic() >= self._visit.total_deadline or self._visit.client_gone:
            return False
        if self._retries > 0:
            turn = self._choose()
            if turn is not None:
                self._retries -= 1
                return self._take(turn)
        turn = self._fall_back() or self._rouse()
        return turn is not None and self._take(turn)

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
        if group.waiting:
            group.serve()
        turn = self._choose()
        if turn is None and is_full(group, self._endpoint):
            turn = self._queue(group)
        return turn or self._fall_back() or self._first_resting(group)

    def _first_resting(self, group: Group) -> Turn:
        member = first_back(group, self._endpoint)
        if member is None:
            raise Busy(
                "The model's upstreams have all the calls that they can take. Try again.", retry_after=self._back_in()
            )
        return self._begin(member)

    def _fall_back(self) -> Turn | None:
        for route in self._fallbacks:
            group = self._members.group(route)
            self._groups.append(group)
            member = choose(group, self._endpoint, self._tried, moves=True)
            if member is not None:
                self._group = group
                self._retries = route.balance.max_retries
                return self._begin(member)
        return None

    def _rouse(self) -> Turn | None:
        member = rouse(self._groups, self._endpoint, self._tried) if self._retries > 0 else None
        if member is None:
            return None
        self._retries -= 1
        return self._begin(member)

    def _choose(self) -> Turn | None:
        moves = self._again and (self._retries > 0 or self._has_fallbacks)
        member = choose(self._group, self._endpoint, self._tried, moves=moves)
        return None if member is None else self._begin(member)

    def _take(self, turn: Turn) -> bool:
        self.turn.over()
        self.turn = turn
        return True

    def _begin(self, member: Member) -> Turn:
        self._tried.append(member)
        return Turn(member, trial=member.health.standing() == "trial")

    # -- waiting for room --

    def _queue(self, group: Group) -> Turn | None:
        """Wait until an upstream has room; None: none had in time, or too many wait."""
        balance = group.route.balance
        if len(group.waiting) >= balance.max_queue:
            return None
        until = min(time.monotonic() + balance.queue_timeout, self._visit.total_deadline)
        try:
            turn = wait_for_room(group, self._choose, self._visit, until)
        except Cut as cut:
            raise ended_by(cut.why) from None
        if self._visit.client_gone:
            if turn is not None:
                turn.over()
            raise ended_by("client_gone")
        return turn

    def _back_in(self) -> float:
        """Tell in how many seconds it is worth another try."""
        group = self._group
        all_rest = not any(member.health.standing() in {"healthy", "trial"} for member in group.all)
        return max(_NOW, group.back_in(time.time())) if all_rest else _NOW


class Balance:
    """Sends calls on their trips."""

    def __init__(self, members: Members) -> None:
        """Spread calls over *members*."""
        self.members = members

    def __call__(
        self,
        route: ModelRoute,
        fallbacks: Routes,
        endpoint: Endpoint,
        visit: Visit,
        *,
        started: float,
        again: bool = True,
    ) -> Trip:
        """Choose the first upstream; its turn has begun. *fallbacks* gives the routes of those that may stand in.

        *started*: when the call came (`time.monotonic()`); *again*: it can be sent more than once. Raises Busy, or what
        ends a call that waits for room.
        """
        return Trip(self.members, route, fallbacks, endpoint, visit, started=started, again=again)


def _lazily(routes: Routes) -> Iterator[ModelRoute]:
    yield from routes()
