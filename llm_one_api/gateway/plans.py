"""What is asked of the limit store for a call: the limits that hold for its caller and its model, in today's windows.

The same for all calls of a caller to a model until a day ends, so it is made once and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_one_api.limits import windows
from llm_one_api.limits.rules import PERIODS, UNITS, Action, Amounts, LimitSet, Period, Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits.messages import Quota
from llm_one_api.values import Caller, Value

NO_LIMIT = -1
ACTIONS: dict[Action, int] = {"reject": 0, "throttle": 1, "shadow": 2}
"""As the store's script knows them."""
_MOST_KEPT = 20_000
_NO_END = 2**52
"""Milliseconds: for windows that do not end."""


class Limit(Value, frozen=True):
    """A limit that is no quota."""

    scope: str
    limit: int
    action: Action


class Plan(Value, frozen=True, kw_only=True):
    """All limits of a call. Empty: it is not limited."""

    requests: tuple[Limit, ...] = ()
    tokens: tuple[Limit, ...] = ()
    concurrent: tuple[Limit, ...] = ()
    slots: tuple[tuple[str, int, int], ...] = ()
    """The same as *concurrent*, as the store takes it."""
    quotas: tuple[Quota, ...] = ()
    windows: tuple[str, ...] = ()
    places: tuple[tuple[str, Period, Amounts], ...] = ()
    """Of each of *quotas*: its scope, its period and its limits, to be told."""
    limits_cost: bool = False
    until: float = float("inf")
    """Seconds since 1970: then other windows begin."""

    def rates(self, tokens: int) -> list[tuple[str, str, int, int, int]]:
        """Give what is asked of the store's minutes for a call of so many *tokens*."""
        asked = [(one.scope, "rpm", one.limit, 1, ACTIONS[one.action]) for one in self.requests]
        asked += [(one.scope, "tpm", one.limit, tokens, ACTIONS[one.action]) for one in self.tokens]
        return asked

    def is_shadow(self, index: int) -> bool:
        """Whether one of *quotas* only tells what it would have refused."""
        return self.quotas[index][4] == ACTIONS["shadow"]

    @property
    def is_empty(self) -> bool:
        """Whether nothing limits the call."""
        return not (self.quotas or self.requests or self.tokens or self.concurrent)


class Plans:
    """Makes and keeps plans."""

    def __init__(self, rules: Rules, calendar: Calendar, clock: Callable[[], float] = time.time) -> None:
        """Use *clock* (seconds since 1970) to tell which windows are open."""
        self._rules = rules
        self._calendar = calendar
        self._clock = clock
        self._ahead = 0.0
        self._kept: dict[tuple[str, str, str | None, str], Plan] = {}

    def of(self, caller: Caller, model: str) -> Plan:
        """Give the plan for a call of *caller* to *model*."""
        key = (caller.key, caller.user, caller.group, model)
        plan = self._kept.get(key)
        now = self._clock() + self._ahead
        if plan is None or now >= plan.until:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            plan = self._kept[key] = self._make(caller, model, now)
        return plan

    def set_clock(self, now: float) -> None:
        """Go by the store's clock, which says *now*: it was found that ours takes it for another day."""
        self._ahead = now - self._clock()
        self._kept.clear()

    def _make(self, caller: Caller, model: str, now: float) -> Plan:
        sets = self._rules.of(caller, model)
        quotas: list[Quota] = []
        places: list[tuple[str, Period, Amounts]] = []
        until = float("inf")
        for scope, one in sets:
            for period in PERIODS:
                amounts = one.amounts(period)
                if not amounts.are_limits:
                    continue
                window = self._calendar.at(period, now)
                name = windows.name(scope, period, window.label)
                end = _NO_END if window.end is None else int(window.end * 1000)
                limits = [NO_LIMIT if n is None else n for n in map(amounts.counted, UNITS)]
                start, action = int(window.start * 1000), ACTIONS[one.action]
                quotas.append((name, limits[0], limits[1], limits[2], action, one.throttled_to, start, end))
                places.append((scope, period, amounts))
                if window.end is not None:
                    until = min(until, window.end)
        concurrent = _rates(sets, "max_concurrent")
        return Plan(
            requests=_rates(sets, "requests_per_minute"),
            tokens=_rates(sets, "tokens_per_minute"),
            concurrent=concurrent,
            slots=tuple([(one.scope, one.limit, ACTIONS[one.action]) for one in concurrent]),
            quotas=tuple(quotas),
            windows=tuple([quota[0] for quota in quotas]),
            places=tuple(places),
            limits_cost=any(amounts.cost is not None for _, _, amounts in places),
            until=until,
        )


def _rates(sets: tuple[tuple[str, LimitSet], ...], name: str) -> tuple[Limit, ...]:
    found = [(scope, getattr(one, name), one.action) for scope, one in sets]
    return tuple([Limit(scope, limit, action) for scope, limit, action in found if limit is not None])
