"""All upstreams of all models in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from llm_one_api.gateway.upstreams.health import Health
from llm_one_api.gateway.upstreams.member import Group, Member, key_of
from llm_one_api.plugins.interfaces import LoadBalanceStrategy
from llm_one_api.targets import ModelRoute, Target

FORGOTTEN_AFTER = 300.0
"""Seconds."""
MOST_BROUGHT = 1000
"""Models that route plugins bring, of which it is known how they fare."""


class Members:
    """Knows the upstreams of the config, and those that route plugins bring. They outlive a reload of the config."""

    def __init__(
        self, make_strategy: Callable[[str], LoadBalanceStrategy], clock: Callable[[], float] = time.time
    ) -> None:
        """Know nobody yet. *make_strategy* makes an object by a strategy's name, and raises if there is none."""
        self._make_strategy = make_strategy
        self._clock = clock
        self._groups: dict[str, Group] = {}
        self._configured: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        """Models that were in the config."""
        self._brought: dict[str, float] = {}
        """Models that route plugins have brought, and when each was used last; those used last stand last."""
        self._known: dict[str, Member] = {}
        self._changed: dict[str, Member] = {}
        self.on_change: Callable[[], None] = _nobody_cares
        """Called when a condition was changed by this process."""

    def all(self) -> Sequence[Member]:
        """Give all upstreams of all models."""
        return [member for group in self._groups.values() for member in group.all]

    def groups(self) -> Sequence[Group]:
        """Give the upstreams by model."""
        return list(self._groups.values())

    def get(self, key: str) -> Member | None:
        """Give the upstream that has this name among processes."""
        return self._known.get(key)

    def group(self, route: ModelRoute) -> Group:
        """Give the upstreams of a model: of the config, or as a route plugin says for this call.

        A call that began before the config was read goes on by the old one, without a trace in what is known by now.
        """
        group = self._groups.get(route.model)
        is_same = group is not None and (group.route is route or group.route == route)
        if route.model in self._configured or route.model in self._gone:
            return group if group is not None and is_same else self._passing(route, group)
        if group is None or not is_same:
            before, group = group, Group(self, route, self._strategy(route, group))
            self._put(group, before)
        self._brought.pop(route.model, None)
        self._brought[route.model] = time.monotonic()  # those used last stand last
        if len(self._brought) > MOST_BROUGHT:
            self.forget(0.0)
        return group

    def keep(self, routes: Iterable[ModelRoute]) -> None:
        """Know *routes* from now on, and no others: the config was read.

        Of upstreams that are the same it is known how they are. Raises, having changed nothing, if a strategy cannot
        be made.
        """
        routes = list(routes)
        groups = [Group(self, route, self._strategy(route, self._groups.get(route.model))) for route in routes]
        before, self._groups = self._groups, {}
        for group in groups:
            same = before.get(group.route.model)
            if same is not None and same.route == group.route:
                self._groups[group.route.model] = before.pop(group.route.model)
            else:
                self._put(group, same)
        self._gone = (self._gone | self._configured) - self._groups.keys()
        self._configured = frozenset(self._groups)
        self._brought.clear()
        keys = {member.key for member in self.all()}
        self._known = {key: member for key, member in self._known.items() if key in keys}
        for group in [*before.values(), *self._groups.values()]:
            group.serve()

    def forget(self, unused: float = FORGOTTEN_AFTER) -> None:
        """Forget models that route plugins have brought and that had no call for so many seconds, the oldest first.

        To be called every few seconds: such names may be the callers' choice, and must not pile up.
        """
        now = time.monotonic()
        for model, used in list(self._brought.items()):
            if now - used < unused or (unused == 0.0 and len(self._brought) <= MOST_BROUGHT):
                break
            group = self._groups.get(model)
            if group is not None and (group.waiting or any(member.own_in_flight for member in group.all)):
                continue
            del self._brought[model]
            self._groups.pop(model, None)
            for member in group.all if group is not None else ():
                self._known.pop(member.key, None)

    def knows(self, member: Member) -> bool:
        """Whether it is one of those of now."""
        return self._known.get(member.key) is member

    def note_change(self, member: Member) -> None:
        """Remember that this process has changed a condition."""
        self._changed[member.key] = member
        self.on_change()

    def take_changed(self) -> list[Member]:
        """Give those whose condition this process has changed since this was asked last."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _strategy(self, route: ModelRoute, before: Group | None) -> LoadBalanceStrategy:
        name = route.balance.strategy
        return before.strategy if before and before.route.balance.strategy == name else self._make_strategy(name)

    def _put(self, group: Group, before: Group | None) -> None:
        """Have *group* be its model's from now on, and those wait for it that have waited for the one *before*."""
        self._groups[group.route.model] = group
        if before is not None:
            group.waiting = before.waiting
        group.all = tuple([self._member(group, target) for target in group.route.targets])

    def _member(self, group: Group, target: Target) -> Member:
        balance = group.route.balance
        known = self._known.get(key_of(target))
        if known is not None and _is_same(known.target, target):
            known.move(group, target)
            known.health.max_failures, known.health.cooldown = balance.max_failures, balance.cooldown
            return known
        member = self._known[key_of(target)] = self._new(group, target)
        if known is not None:
            member.health.begin_anew()
            self.note_change(member)
        return member

    def _new(self, group: Group, target: Target) -> Member:
        balance = group.route.balance
        health = Health(max_failures=balance.max_failures, cooldown=balance.cooldown, clock=self._clock)
        return Member(group, target, health)

    def _passing(self, route: ModelRoute, now: Group | None) -> Group:
        """Make a group that nobody else sees; those of its upstreams that are still known are the known ones."""
        group = Group(self, route, self._strategy(route, now))
        found = []
        for target in route.targets:
            known = self._known.get(key_of(target))
            same = known is not None and _is_same(known.target, target)
            found.append(known if known is not None and same else self._new(group, target))
        group.all = tuple(found)
        if now is not None:
            group.waiting = now.waiting
        return group


def _is_same(one: Target, other: Target) -> bool:
    """Whether what is known of one's health holds for the other: the same place, asked in the same way."""
    a, b = one.upstream, other.upstream
    return (a.base_url, a.api_key, a.adapter, a.link) == (b.base_url, b.api_key, b.adapter, b.link)


def _nobody_cares() -> None:
    """Tell nobody: what this process finds is not shared."""
