"""The sections `limits`, `quota` and `rate_limit`: how much may be used, and what happens at the end of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from llm_one_api.limits.rules import Action, Amounts, Kind, LimitSet, Rules
from llm_one_api.settings.kinds import Count, Expect, fault
from llm_one_api.settings.sections import Section, Switch
from llm_one_api.values import fingerprint

UNLIMITED = "unlimited"
Unlimited = Literal["unlimited"]

_MOST = 10**15
"""Above this, sums would not be exact in the limit store."""
_MOST_USD = 5_000_000
_DECIMALS = 9
_THROTTLED_WITHOUT_RATE = 6
_WHOLE = re.compile(r"[0-9]{1,16}")
_USD = re.compile(r"[0-9]{1,7}(\.[0-9]{1,40})?")
_FINGERPRINT = re.compile(r"key_[0-9a-f]{8}")
_LONGEST_SLIP = 20
"""Characters of what begins like a fingerprint and is none."""


def _is_limit(value: Any) -> int | Unlimited | None:
    if value is None or value == UNLIMITED:
        return value  # type: ignore[no-any-return]
    number = _whole(value)
    if not 1 <= number <= _MOST:
        raise ValueError("out of range")
    return number


def _whole(value: Any) -> int:
    """Read a whole number: the config's scalars are texts, and `1e3`, `5.0` or `true` are none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value.replace("_", "")):
        return int(value)
    raise ValueError("not a whole number")


def _is_cost(value: Any) -> Decimal | Unlimited | None:
    if value is None or value == UNLIMITED:
        return value  # type: ignore[no-any-return]
    text = str(value).replace("_", "")
    if isinstance(value, bool) or not _USD.fullmatch(text):
        raise ValueError("not an amount")
    cost = Decimal(text)
    if not 0 < cost <= _MOST_USD or cost != cost.quantize(Decimal(1).scaleb(-_DECIMALS)):
        raise ValueError("out of range")
    return cost


def _are_fingerprints(names: Any) -> Any:
    """Refuse what is no fingerprint without showing it, for it may be a key."""
    for name in names if isinstance(names, dict | list | tuple) else [names] if isinstance(names, str) else ():
        if not isinstance(name, str) or _FINGERPRINT.fullmatch(name):
            continue
        if not name or (name.lower().startswith("key_") and len(name) <= _LONGEST_SLIP):
            raise fault("must name keys by their fingerprints: key_ and 8 of 0-9 and a-f, such as key_3f9a1c22")
        raise fault(
            "must name keys by their fingerprints, never by themselves: if it is a key that stands there, "
            f"write {fingerprint(name)}"
        )
    return [names] if isinstance(names, str) else names


def _is_listed(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


_LIMIT = "a whole number between 1 and 1000000000000000, or unlimited"
Limit = Annotated[int | Unlimited | None, PlainValidator(_is_limit), Expect(_LIMIT)]
Cost = Annotated[
    Decimal | Unlimited | None,
    PlainValidator(_is_cost),
    Expect("an amount in USD above 0, at most 5000000, with at most 9 decimals, such as 12.50, or unlimited"),
]
PerMinuteOrNone = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is None else _whole(value)),
    Field(ge=1, le=10**9),
    Expect("a whole number between 1 and 1000000000"),
]
Lease = Annotated[float, Field(ge=5, le=3600, allow_inf_nan=False), Expect("a number of seconds between 5 and 3600")]
ActionOrNone = Annotated[Action | None, Expect("reject, throttle or shadow")]
_NAME = Field(min_length=1, max_length=200)
ScopeName = Annotated[str, _NAME]
Names = Annotated[tuple[ScopeName, ...], BeforeValidator(_is_listed), Expect("a list of names, such as [alice, bob]")]
Fingerprints = Annotated[
    tuple[str, ...], BeforeValidator(_are_fingerprints), Expect("a list of keys' fingerprints, such as [key_3f9a1c22]")
]


class AmountSettings(Section):
    """How much may be used in a day, in a month, or at all."""

    tokens: Limit = None
    """Tokens, of input and output together."""
    requests: Limit = None
    """Calls, whatever becomes of them."""
    cost_usd: Cost = None
    """US dollars, by the prices that are known when a call comes."""


class ThrottleSettings(Section):
    """What a caller keeps who is over a quota, with `action: throttle`."""

    requests_per_minute: PerMinuteOrNone = None
    """Calls a minute. Nothing: as `quota.throttle`, else a tenth of its set's rate, rounded up; without a rate, 6."""


class LimitSettings(Section):
    """A set of limits. `limits.md` says what they do.

    A set for a name (below `keys`, `users`, …) takes what it does not say from the `each_…` of its kind; the word
    `unlimited` lifts a single limit.
    """

    requests_per_minute: Limit = None
    """Calls in any 60 seconds."""
    tokens_per_minute: Limit = None
    """Tokens in any 60 seconds, of input and output together."""
    max_concurrent: Limit = None
    """Calls at a time."""
    day: AmountSettings = AmountSettings()
    """What may be used in a day of `timezone`."""
    month: AmountSettings = AmountSettings()
    """What may be used in a month of `timezone`."""
    total: AmountSettings = AmountSettings()
    """What may be used at all, since the beginning."""
    action: ActionOrNone = None
    """What happens at these limits: `reject`, `throttle` (at a quota) or `shadow`. Nothing: `quota.action`."""
    throttle: ThrottleSettings = ThrottleSettings()
    """What is left of it over a quota."""

    @model_validator(mode="after")
    def _throttles_if_it_says_how(self) -> LimitSettings:
        if self.throttle.requests_per_minute is not None and self.action in {"reject", "shadow"}:
            raise fault(f"is read for action throttle only, and here it is {self.action}", field="throttle")
        return self


class ExemptSettings(Section):
    """Callers that are neither limited nor charged to any quota."""

    keys: Fingerprints = ()
    """Keys, by their fingerprints."""
    users: Names = ()
    """Users, by their names."""


class LimitsSettings(Section):
    """How much may be used, and by whom. Any number of limits can hold for a call: it needs room in each of them."""

    each_key: LimitSettings = LimitSettings()
    """For each key that has no set of its own."""
    each_user: LimitSettings = LimitSettings()
    """For each user that has no set of its own: for all keys of a user together."""
    each_group: LimitSettings = LimitSettings()
    """For each group that has no set of its own: for all its members together."""
    each_model: LimitSettings = LimitSettings()
    """For each model that has no set of its own: for all its callers together."""
    everyone: LimitSettings = LimitSettings()
    """For all calls together."""
    keys: Annotated[dict[str, LimitSettings], BeforeValidator(_are_fingerprints), Expect("sets by fingerprint")] = (
        Field(default={})
    )
    """For single keys, by fingerprint, such as `key_3f9a1c22`."""
    users: Annotated[dict[ScopeName, LimitSettings], Expect("sets by user")] = Field(default={})
    """For single users, by the name that statistics have."""
    groups: Annotated[dict[ScopeName, LimitSettings], Expect("sets by group")] = Field(default={})
    """For single groups."""
    models: Annotated[dict[ScopeName, LimitSettings], Expect("sets by model")] = Field(default={})
    """For single models, by the name that callers use."""
    exempt: ExemptSettings = ExemptSettings()


class QuotaSettings(Section):
    """What holds for all quotas."""

    action: Annotated[Action, Expect("reject, throttle or shadow")] = "reject"
    """At a limit: `reject` calls, `throttle` the caller to a few a minute (at a quota), or `shadow`: only say it."""
    throttle: ThrottleSettings = ThrottleSettings()
    """What is left over a quota, for sets that do not say it."""
    unpriced: Literal["refuse", "allow"] = "refuse"
    """Calls whose cost is limited, to a model without a known price: `refuse` them, or `allow` them at no charge."""
    when_unavailable: Literal["allow", "refuse"] = "allow"
    """Calls under a quota while Redis is away, or has lost the counters: `allow` or `refuse` them."""
    default_output_tokens: PerMinuteOrNone = None
    """Output reserved for a call that sets no maximum. Nothing: what 95 of 100 calls to its model stayed within."""
    lease: Lease = 60.0
    """Seconds after which the reservation of a call ends whose process died. Living ones renew theirs."""


class RateLimitSettings(Section):
    """The short form of the most usual limit, and the limit on wrong keys."""

    enabled: Switch = True
    """Whether `requests_per_minute` beside it is used."""
    requests_per_minute: PerMinuteOrNone = None
    """The same as `limits.each_key.requests_per_minute`; give one of the two."""
    failed_auth_per_minute: Count = 600
    """Calls of an address without a valid key, a minute and process; more are refused before any other work."""

    @model_validator(mode="after")
    def _limits_if_it_is_on(self) -> RateLimitSettings:
        if self.enabled and "enabled" in self.model_fields_set and self.requests_per_minute is None:
            raise fault(
                "must be given where enabled is true: without it nothing is limited", field="requests_per_minute"
            )
        return self


_KINDS: Mapping[Kind, tuple[str, str | None]] = {
    "key": ("each_key", "keys"),
    "user": ("each_user", "users"),
    "group": ("each_group", "groups"),
    "model": ("each_model", "models"),
    "all": ("everyone", None),
}
_RATES = ("requests_per_minute", "tokens_per_minute", "max_concurrent")


def rules(limits: LimitsSettings, quota: QuotaSettings, rate_limit: RateLimitSettings) -> Rules:
    """Make the rules of all sections together."""
    each: dict[Kind, LimitSet] = {}
    named: dict[Kind, dict[str, LimitSet]] = {}
    for kind, (default, names) in _KINDS.items():
        default_set: LimitSettings = getattr(limits, default)
        if kind == "key" and rate_limit.enabled and default_set.requests_per_minute is None:
            default_set = default_set.model_copy(update={"requests_per_minute": rate_limit.requests_per_minute})
        each[kind] = _set([default_set], quota)
        if names is not None:
            named[kind] = {name: _set([own, default_set], quota) for name, own in getattr(limits, names).items()}
    return Rules(
        each={kind: one for kind, one in each.items() if one.has_rates or one.has_quotas},
        named={kind: sets for kind, sets in named.items() if sets},
        exempt_keys=frozenset(limits.exempt.keys),
        exempt_users=frozenset(limits.exempt.users),
    )


def _set(sections: list[LimitSettings], quota: QuotaSettings) -> LimitSet:
    """Make a set, each of its fields being the first that is given in *sections*."""
    rates = {name: _limit(getattr(section, name) for section in sections) for name in _RATES}
    rate = rates["requests_per_minute"]
    throttled = [section.throttle.requests_per_minute for section in sections]
    throttled += [quota.throttle.requests_per_minute, _THROTTLED_WITHOUT_RATE if rate is None else -(-rate // 10)]
    return LimitSet(
        **rates,
        day=_amounts([section.day for section in sections]),
        month=_amounts([section.month for section in sections]),
        total=_amounts([section.total for section in sections]),
        action=next((section.action for section in sections if section.action), quota.action),
        throttled_to=next(number for number in throttled if number is not None),
    )


def _amounts(sections: list[AmountSettings]) -> Amounts:
    return Amounts(
        tokens=_limit(section.tokens for section in sections),
        requests=_limit(section.requests for section in sections),
        cost=_limit(section.cost_usd for section in sections),
    )


def _limit(values: Iterator[Any]) -> Any:
    first = next((value for value in values if value is not None), None)
    return None if first == UNLIMITED else first
