"""Which limits hold for a call: those of its key, user, group and model, and those for all calls together."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from llm_one_api.limits.money import NANOS
from llm_one_api.values import Caller, Value

Kind = Literal["key", "user", "group", "model", "all"]
Period = Literal["day", "month", "total"]
Unit = Literal["tokens", "requests", "cost"]
Action = Literal["reject", "throttle", "shadow"]
"""At a limit: `reject` the call; at a quota `throttle` the caller to a few calls a minute; `shadow` only says it."""

PERIODS: tuple[Period, ...] = ("day", "month", "total")
UNITS: tuple[Unit, ...] = ("tokens", "requests", "cost")


class Amounts(Value, frozen=True, kw_only=True):
    """How much may be used in one window of a period. None: as much as one likes."""

    tokens: int | None = None
    requests: int | None = None
    cost: Decimal | None = None
    """USD."""

    @property
    def are_limits(self) -> bool:
        """Whether there is any."""
        return self.tokens is not None or self.requests is not None or self.cost is not None

    def counted(self, unit: Unit) -> int | None:
        """Give the limit of *unit* as it is counted: USD in 1e-9."""
        if unit == "cost":
            return None if self.cost is None else int(self.cost * NANOS)
        limit: int | None = getattr(self, unit)
        return limit


NO_AMOUNTS = Amounts()


class LimitSet(Value, frozen=True, kw_only=True):
    """The limits of one key, user, group or model, or of all. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    day: Amounts = NO_AMOUNTS
    month: Amounts = NO_AMOUNTS
    total: Amounts = NO_AMOUNTS
    action: Action = "reject"
    throttled_to: int = 1
    """Requests a minute that a caller keeps who is over a quota, with `action: throttle`."""

    def amounts(self, period: Period) -> Amounts:
        """Give the quotas of *period*."""
        amounts: Amounts = getattr(self, period)
        return amounts

    @property
    def has_rates(self) -> bool:
        """Whether a rate or the number of calls at a time is limited."""
        return not self.requests_per_minute is self.tokens_per_minute is self.max_concurrent is None

    @property
    def has_quotas(self) -> bool:
        """Whether the use of a day, a month or of all time is limited."""
        return any(self.amounts(period).are_limits for period in PERIODS)


NO_LIMITS = LimitSet()


class Rules(Value, frozen=True, kw_only=True):
    """All limits of an installation."""

    each: Mapping[Kind, LimitSet] = {}
    """For each key, user, group or model that has no set of its own; for `all`: for all calls together."""
    named: Mapping[Kind, Mapping[str, LimitSet]] = {}
    """Whole sets: what they do not say themselves was taken from *each* already."""
    exempt_keys: frozenset[str] = frozenset()
    """Fingerprints of keys whose calls are neither limited nor charged to any quota."""
    exempt_users: frozenset[str] = frozenset()

    @property
    def are_none(self) -> bool:
        """Whether nothing is limited at all."""
        return not any(self._all_sets())

    @property
    def have_quotas(self) -> bool:
        """Whether the use of a day, a month or of all time is limited for anybody."""
        return any(one.has_quotas for one in self._all_sets())

    @property
    def limit_cost(self) -> bool:
        """Whether some quota is in USD, so that prices are needed before a call."""
        return any(s.amounts(period).cost is not None for s in self._all_sets() for period in PERIODS)

    def _all_sets(self) -> list[LimitSet]:
        sets = [*self.each.values(), *(one for named in self.named.values() for one in named.values())]
        return [one for one in sets if one.has_rates or one.has_quotas]

    def of(self, caller: Caller, model: str) -> tuple[tuple[str, LimitSet], ...]:
        """Give the sets that hold for *caller*'s calls to *model*, by scope (`user:alice`, `all`), narrowest first."""
        if caller.key in self.exempt_keys or caller.user in self.exempt_users:
            return ()
        found: list[tuple[str, LimitSet]] = []
        names: tuple[tuple[Kind, str | None], ...] = (
            ("key", caller.key),
            ("user", caller.user),
            ("group", caller.group),
            ("model", model),
            ("all", ""),
        )
        for kind, name in names:
            if name is None:
                continue
            one = self.named.get(kind, {}).get(name) or self.each.get(kind)
            if one is not None and (one.has_rates or one.has_quotas):
                found.append((scope(kind, name), one))
        return tuple(found)


def scope(kind: Kind, name: str) -> str:
    """Name whom a set is for: `user:alice`, or `all`.

    A plugin may say any name; it stands here as it stands in the journal and the ledger.
    """
    if kind == "all":
        return "all"
    return f"{kind}:{name}".encode("utf-8", "backslashreplace").decode().replace("\0", "\ufffd")
