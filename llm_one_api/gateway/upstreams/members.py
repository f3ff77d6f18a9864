"""The upstreams of each model as this process knows them: who has what under way, and who can take a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from llm_one_api.gateway.upstreams.figures import Figures
from llm_one_api.gateway.upstreams.health import Health, Others
from llm_one_api.plugins.interfaces import LoadBalanceStrategy
from llm_one_api.targets import ModelRoute, Target
from llm_one_api.values import Value

log = structlog.get_logger()


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

    # -- what happens to it --

    def answered(self, *, fresh: bool) -> None:
        """Note that it answered a call."""
        if self.health.answered(fresh=fresh):
            self._tell("upstream.recovered")

    def failed(self, why: str, *, trial: bool, fresh: bool, midway: bool) -> None:
        """Note that it failed a call; *midway*: one that it had answered, so far."""
        self.last_error = LastError(code=why, at=time.time())
        others = self._group.has_another(self)
        if self.health.failed(why, trial=trial, fresh=fresh, may_rest=others, midway=midway):
            self._tell("upstream.ejected")

    def limited(self, seconds: float) -> None:
        """Note that it takes no calls for so many seconds."""
        self.last_error = LastError(code="http_429", at=time.time())
        was_paused = self.health.condition.state == "paused"
        if self.health.limited(seconds):
            self._tell(None if was_paused else "upstream.paused")

    def probed(self, error: str | None) -> None:
        """Note that a probe reached it, or not: *error* is a code."""
        if error is not None:
            self.last_error = LastError(code=error, at=time.time())
        was_ejected = self.health.condition.state == "ejected"
        if self.health.probed(error, may_rest=self._group.has_another(self)):
            self._tell(None if was_ejected else "upstream.ejected")

    def _tell(self, event: str | None) -> None:
        """Say what has changed: once, in the process that found it; the others are told through the store."""
        condition = self.health.condition
        if event == "upstream.recovered":
            log.info(event, model=self.target.model, upstream=self.name)
        elif event is not None:
            log.warning(
                event,
                model=self.target.model,
                upstream=self.name,
                why=condition.why,
                seconds=round(condition.until - condition.since, 1),
            )
        self._group.members.note_change(self)


class Group:
    """The upstreams of a model, in the order of the config."""

    def __init__(self, members: Members, route: ModelRoute, strategy: LoadBalanceStrategy) -> None:
        self.members = members
        self.route = route
        self.strategy = strategy
        self.all: tuple[Member, ...] = ()
        self._told_of_strategy = False
        self.waiting: list[Callable[[], None]] = []
        """Wakes those up that wait for room, the first first."""

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

    def wake(self) -> None:
        """Let the one that waits longest look: there is room."""
        if self.waiting:
            self.waiting.pop(0)()

    def wake_all(self) -> None:
        """Let all look that wait: there may be room, or this group is no more."""
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()


class Members:
    """All upstreams of all models in this process. They outlive a reload of the config."""

    def __init__(
        self, make_strategy: Callable[[str], LoadBalanceStrategy], clock: Callable[[], float] = time.time
    ) -> None:
        """Know nobody yet. *make_strategy* makes an object by a strategy's name, and raises if there is none."""
        self._make_strategy = make_strategy
        self._clock = clock
        self._groups: dict[str, Group] = {}
        self._known: dict[str, Member] = {}
        self._changed: dict[str, Member] = {}
        self.on_change: Callable[[], None] = _nobody_cares
        """Called when a condition was changed by this process."""

    def all(self) -> Sequence[Member]:
        """Give all upstreams of all models."""
        return [member for group in self._groups.values() for member in group.all]

    def groups(self) -> Iterable[Group]:
        """Give the upstreams by model."""
        return list(self._groups.values())

    def get(self, key: str) -> Member | None:
        """Give the upstream that has this name among processes."""
        return self._known.get(key)

    def group(self, route: ModelRoute) -> Group:
        """Give the upstreams of a model. A route that has changed keeps what is known of those that are the same."""
        group = self._groups.get(route.model)
        if group is not None and (group.route is route or group.route == route):
            return group
        before, group = group, self._make(route, group)
        self._groups[route.model] = group
        if before is not None:
            before.wake_all()
        return group

    def keep(self, routes: Iterable[ModelRoute]) -> None:
        """Know *routes* from now on, and no others: the config was read."""
        routes = list(routes)
        for route in routes:
            self.group(route)
        names = {route.model for route in routes}
        for gone in [name for name in self._groups if name not in names]:
            self._groups.pop(gone).wake_all()
        keys = {member.key for member in self.all()}
        self._known = {key: member for key, member in self._known.items() if key in keys}

    def note_change(self, member: Member) -> None:
        """Remember that this process has changed a condition."""
        self._changed[member.key] = member
        self.on_change()

    def take_changed(self) -> list[Member]:
        """Give those whose condition this process has changed since this was asked last."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _make(self, route: ModelRoute, before: Group | None) -> Group:
        kept = before is not None and before.route.balance.strategy == route.balance.strategy
        strategy = before.strategy if before is not None and kept else self._make_strategy(route.balance.strategy)
        group = Group(self, route, strategy)
        group.all = tuple([self._member(group, target) for target in route.targets])
        return group

    def _member(self, group: Group, target: Target) -> Member:
        balance = group.route.balance
        known = self._known.get(key_of(target))
        if known is not None and _is_same(known.target, target):
            known.move(group, target)
            known.health.max_failures, known.health.cooldown = balance.max_failures, balance.cooldown
            return known
        health = Health(max_failures=balance.max_failures, cooldown=balance.cooldown, clock=self._clock)
        member = self._known[key_of(target)] = Member(group, target, health)
        if known is not None:
            health.begin_anew()
            self.note_change(member)
        return member


def key_of(target: Target) -> str:
    """Name an upstream of a model, among processes."""
    return f"{target.model}\t{target.upstream.name}"


def _is_same(one: Target, other: Target) -> bool:
    """Whether what is known of one's health holds for the other: the same place, asked in the same way."""
    a, b = one.upstream, other.upstream
    return (a.base_url, a.api_key, a.adapter, a.link) == (b.base_url, b.api_key, b.adapter, b.link)


def _nobody_cares() -> None:
    """Tell nobody: what this process finds is not shared."""
