"""One upstream of one model as this process knows it, and the others of that model beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from llm_one_api.gateway.upstreams.figures import Figures
from llm_one_api.gateway.upstreams.health import Health, Others
from llm_one_api.plugins.interfaces import LoadBalanceStrategy
from llm_one_api.targets import ModelRoute, Target
from llm_one_api.values import Value

log = structlog.get_logger()


class Ticket(Protocol):
    """A call that waits for room (`queue.py`)."""

    def take(self) -> bool:
        """Take room that the call can use; False: there is none."""


class Register(Protocol):
    """What a member needs of all members (`members.py`)."""

    def knows(self, member: Member) -> bool:
        """Whether it is one of those of now: the config may have put another place under its name."""

    def note_change(self, member: Member) -> None:
        """Remember that this process has changed a condition."""


class LastError(Value, frozen=True, kw_only=True):
    """What went wrong last with an upstream."""

    code: str
    """Such as `upstream_unreachable` or `http_500`; never a message."""
    at: float
    """`time.time()`."""


class Member:
    """One upstream of one model."""

    __slots__ = (
        "_group",
        "_own_when_told",
        "figures",
        "health",
        "key",
        "last_error",
        "name",
        "own_in_flight",
        "plain",
        "target",
        "weight",
    )

    def __init__(self, group: Group, target: Target, health: Health) -> None:
        self._group = group
        self.key = key_of(target)
        """Its name among processes."""
        self.name = target.upstream.name
        self.target = target
        self.weight = target.weight
        self.plain = target.upstream.adapter == "openai"
        """Whether it has every endpoint."""
        self.own_in_flight = 0
        """Calls of this process that it has under way."""
        self._own_when_told = 0
        self.health = health
        self.figures = Figures()
        self.last_error: LastError | None = None

    @property
    def group(self) -> Group:
        """The model's upstreams, of which it is one."""
        return self._group

    @property
    def in_flight(self) -> int:
        """Count the calls that it has under way, from all processes: what the strategies go by.

        What the others have begun since they were heard of last is taken to be what this process has: else all would
        send to the one that was the emptiest then, until they hear of each other again.
        """
        own, others = self.own_in_flight, self.health.others
        if others.processes == 1:
            return own
        return max(own, own + others.in_flight + (others.processes - 1) * (own - self._own_when_told))

    @property
    def told_in_flight(self) -> int:
        """Count the calls that it has under way, as they are known."""
        return self.own_in_flight + self.health.others.in_flight

    @property
    def is_shared(self) -> bool:
        """Whether its state matters to a choice, so that processes tell each other of it."""
        group = self._group
        return len(group.all) > 1 or bool(group.route.fallbacks) or self.target.upstream.max_concurrent is not None

    @property
    def interval(self) -> float | None:
        """Seconds from one probe of it to the next; None: it is not probed."""
        return self._group.route.balance.health_check_interval

    @property
    def max_failures(self) -> int:
        """Failures one after the other, after which it rests."""
        return self.health.max_failures

    @property
    def has_room(self) -> bool:
        """Whether it may have one more call at a time."""
        most = self.target.upstream.max_concurrent
        return most is None or self.told_in_flight < most

    def told(self, others: Others) -> None:
        """Take note of what the other processes have seen."""
        self.health.others = others
        self._own_when_told = self.own_in_flight

    def move(self, group: Group, target: Target) -> None:
        """Go on as *target*, of *group*: the config has changed in what does not concern its health."""
        self._group, self.target, self.weight = group, target, target.weight

    # -- what happens to it: who finds it says it, once, and the others are told through the store --

    def answered(self, *, fresh: bool) -> None:
        """Note that it answered a call."""
        if self.health.answered(fresh=fresh) and self._is_known():
            log.info("upstream.recovered", model=self.target.model, upstream=self.name)
            self._group.register.note_change(self)

    def failed(self, why: str, *, trial: bool, fresh: bool, answered_after: int | None = None) -> None:
        """Note that it failed a call; *answered_after*: one that it began to answer, after that many failures."""
        self.last_error = LastError(code=why, at=time.time())
        was_kept = self.health.kept
        others = self._group.has_another(self)
        if self.health.failed(why, trial=trial, fresh=fresh, may_rest=others, answered_after=answered_after):
            self._ejected()
        elif self.health.kept and not was_kept:
            self._kept(why)

    def limited(self, seconds: float) -> None:
        """Note that it takes no calls for so many seconds."""
        self.last_error = LastError(code="http_429", at=time.time())
        was_paused = self.health.standing() == "paused"
        if self.health.limited(seconds) and self._is_known():
            if not was_paused:
                log.warning("upstream.paused", **self._facts())
            self._group.register.note_change(self)

    def probed(self, error: str | None) -> None:
        """Note that a probe reached it, or not: *error* is a code."""
        if error is not None:
            self.last_error = LastError(code=error, at=time.time())
        was_ejected, was_kept = self.health.condition.state == "ejected", self.health.kept
        if self.health.probed(error, may_rest=self._group.has_another(self)):
            if not was_ejected:
                self._ejected()
            elif self._is_known():  # it goes on resting, or may be tried sooner
                self._group.register.note_change(self)
        elif self.health.kept and not was_kept:
            self._kept(error or "")

    def _is_known(self) -> bool:
        return self._group.register.knows(self)

    def _ejected(self) -> None:
        if self._is_known():
            log.warning("upstream.ejected", **self._facts())
            self._group.register.note_change(self)

    def _kept(self, why: str) -> None:
        if self._is_known():
            log.warning("upstream.kept", model=self.target.model, upstream=self.name, why=why)

    def _facts(self) -> dict[str, str | float]:
        condition = self.health.condition
        seconds = round(condition.until - condition.since, 1)
        return {"model": self.target.model, "upstream": self.name, "why": condition.why, "seconds": seconds}


class Group:
    """The upstreams of a model, in the order of the config."""

    def __init__(self, register: Register, route: ModelRoute, strategy: LoadBalanceStrategy) -> None:
        self.register = register
        self.route = route
        self.strategy = strategy
        self.all: tuple[Member, ...] = ()
        self._told_of_strategy = False
        self.total_timeout = max(target.upstream.total_timeout for target in route.targets)
        """Seconds that a call has in all, whoever of them it comes to; its upstreams may give it less."""
        self.waiting: list[Ticket] = []
        """Calls that wait for room, in the order in which they came."""

    def has_another(self, than: Member) -> bool:
        """Whether somebody else can take calls: the last one never rests."""
        return bool(self.route.fallbacks) or any(
            member is not than and member.weight and member.health.standing() == "healthy" for member in self.all
        )

    def choose(self, among: Sequence[Member]) -> Member:
        """Have the strategy choose. One that fails, or that chooses somebody else, costs no call."""
        try:
            chosen = self.strategy.choose(among)
            for member in among:
                if member is chosen:
                    return member
            kind = "it chose none of those that may be asked"
        except Exception as error:  # whatever a plugin raises
            kind = type(error).__name__
        if not self._told_of_strategy:
            self._told_of_strategy = True
            log.error("upstreams.strategy_failed", model=self.route.model, kind=kind)
        return among[0]

    def serve(self) -> None:
        """Give what room there is to those that wait, in the order in which they came."""
        for ticket in list(self.waiting):
            if not any(member.weight and member.has_room for member in self.all):
                return
            if ticket.take():
                self.waiting.remove(ticket)

    def back_in(self, now: float) -> float:
        """Tell in how many seconds the first of those that rest may be asked again; 0: there is none."""
        waits = [m.health.condition.until - now for m in self.all if m.health.standing() in {"paused", "ejected"}]
        return max(0.0, min(waits, default=0.0))


def key_of(target: Target) -> str:
    """Name an upstream of a model, among processes."""
    return f"{target.model}\t{target.upstream.name}"
