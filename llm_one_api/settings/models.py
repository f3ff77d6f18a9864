"""The section `models`: what callers may ask for, and where each goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llm_one_api.settings.kinds import (
    ApiBaseOrNone,
    ApiKeyOrNone,
    CountOrNone,
    Expect,
    Seconds,
    SecondsOrNone,
    TextOrNone,
    fault,
    faults,
    listed,
)
from llm_one_api.settings.links import LinkSettings
from llm_one_api.settings.sections import Section
from llm_one_api.targets import Adapter, Balance, Link, ModelRoute, Target, Upstream

_DEFAULTS = Upstream(name="", base_url="")
_BALANCE = Balance()
_PROBED_EVERY = 30.0

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Faults: where, and what."""


def _interval(value: Any) -> Any:
    return 0 if isinstance(value, str) and value.strip().lower() in {"off", "false", "no"} else value


def _not_always(seconds: float | None) -> float | None:
    if seconds is not None and 0 < seconds < 1:
        raise ValueError("that would be a load of its own")
    return seconds


AdapterName = Annotated[Adapter | None, Expect("openai, anthropic or azure")]
ApiVersionOrNone = Annotated[
    str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$"), Expect("a version such as 2024-10-21")
]
UpstreamName = Annotated[
    str | None,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\z"),
    Expect("a text of at most 200 characters, on one line"),
]
Weight = Annotated[int | None, Field(ge=0, le=10**6), Expect("a whole number between 0 and 1000000")]
Interval = Annotated[
    float | None,
    BeforeValidator(_interval),
    Field(ge=0, le=86400, allow_inf_nan=False),
    AfterValidator(_not_always),
    Expect("a number of seconds between 1 and 86400, or off"),
]
Patience = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), Expect("a number of seconds between 0 and 3600")]
Retries = Annotated[int, Field(ge=0, le=100), Expect("a whole number between 0 and 100")]
Failures = Annotated[int, Field(ge=1, le=1000), Expect("a whole number between 1 and 1000")]
QueueLength = Annotated[int, Field(ge=0, le=10**6), Expect("a whole number between 0 and 1000000")]
StrategyOrNone = Annotated[
    str | None,
    Field(min_length=1, max_length=200),
    Expect("round_robin, random, weighted, least_connections, least_latency, or the name of a plugin"),
]
Models = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
    BeforeValidator(listed),
    Expect("a list of models, such as [gpt-4o-mini]"),
]


class PlaceSettings(Section):
    """What a model can say, and each entry of its `upstreams` too."""

    api_base: ApiBaseOrNone = None
    """Where calls go, such as `https://api.openai.com/v1`: what an endpoint's path is put behind."""
    api_key: ApiKeyOrNone = None
    """The key that the upstream is called with; best as `${NAME}`. Empty: none is sent."""
    upstream_model: TextOrNone = None
    """What the upstream calls the model, by default the same."""
    adapter: AdapterName = None
    """How the upstream speaks: `openai` (the default), `anthropic` (chats are translated) or `azure` (deployments)."""
    api_version: ApiVersionOrNone = None
    """Azure's `api-version`, such as `2024-10-21`; it has to be given for `adapter: azure`, and for no other."""
    default_max_tokens: CountOrNone = None
    """With `adapter: anthropic`: what a chat may put out whose caller sets no limit; by default 4096."""
    timeout: SecondsOrNone = None
    """Seconds that a call may take in all, by default 1800."""
    connect_timeout: SecondsOrNone = None
    """Seconds to connect in, by default 10."""
    first_byte_timeout: SecondsOrNone = None
    """Seconds until the answer must begin, by default 300."""
    idle_timeout: SecondsOrNone = None
    """Seconds of silence within an answer, by default 120."""
    max_concurrent: CountOrNone = None
    """Calls that an upstream is given at a time, by all processes together, by default any number; others wait."""


class UpstreamSettings(LinkSettings, PlaceSettings):
    """One entry of a model's `upstreams`. What is not given here is the model's."""

    misplaced: ClassVar = dict.fromkeys(
        [
            "load_balance_strategy",
            "health_check_interval",
            "max_failures",
            "cooldown",
            "max_retries",
            "fallbacks",
            "queue_timeout",
            "max_queue",
            "max_output_tokens",
        ],
        "is a setting of the model, for all its upstreams: put it beside upstreams",
    )

    name: UpstreamName = None
    """Its name in records, pages and logs; no two of a model are the same. Nothing: the host of `api_base`."""
    weight: Weight = None
    """Its share of the calls, as far as the strategy goes by weights. 0: it gets none. Nothing: 1."""

    @model_validator(mode="after")
    def _has_a_base(self) -> UpstreamSettings:
        if not self.api_base:
            raise fault("must be given: an http:// or https:// URL", field="api_base")
        return self

    @property
    def called(self) -> str:
        """What it is called."""
        return self.name or urlsplit(self.api_base or "").netloc


class ModelSettings(LinkSettings, PlaceSettings):
    """A model by the name that callers use. It needs `api_base`, or entries in `upstreams`.

    [upstreams.md](upstreams.md) says how calls are spread, and what happens when an upstream fails.
    """

    misplaced: ClassVar = {
        "weight": "is a setting of an entry of upstreams: put it there",
        "name": "is a setting of an entry of upstreams: a model's name stands on the left of its colon",
    }

    max_output_tokens: CountOrNone = None
    """The most that the model puts out in one answer: a quota reserves no more for it. Nothing: it is not known."""
    total_timeout: SecondsOrNone = None
    """The same as `timeout`; give one of the two."""
    upstreams: Annotated[tuple[UpstreamSettings, ...] | None, Expect("a list of upstreams")] = None
    """Several places that answer for the model, instead of `api_base`."""
    load_balance_strategy: StrategyOrNone = None
    """How calls are spread over them. Nothing: `weighted` where one of them has a weight, else `round_robin`."""
    health_check_interval: Interval = None
    """Seconds between two probes of an upstream; `off` or 0: none. Nothing: 30 where there are several, else none."""
    max_failures: Failures = _BALANCE.max_failures
    """Failures one after the other, after which an upstream rests."""
    cooldown: Seconds = _BALANCE.cooldown
    """Seconds that it rests at first, before single calls try whether it is well again."""
    max_retries: Retries = _BALANCE.max_retries
    """How many further upstreams a call is tried at, when the first one fails before it has answered."""
    fallbacks: Models = ()
    """Models that answer when none of the upstreams can, or when a context is too long for this one; in this order."""
    queue_timeout: Patience = _BALANCE.queue_timeout
    """Seconds that a call waits while all upstreams have `max_concurrent` calls; then it is 503."""
    max_queue: QueueLength = _BALANCE.max_queue
    """Calls that may wait so, in one process; one more is 503 at once."""

    @model_validator(mode="after")
    def _can_be_called(self) -> ModelSettings:
        found = [*self._about_places(), *self._about_adapters()]
        if found:
            raise faults(found)
        return self

    def route(self, model: str, link: Link) -> ModelRoute:
        """Tell where calls to *model*, which this is, may go; *link* is how connections are made to all upstreams."""
        return ModelRoute(
            model=model,
            targets=tuple(self._target(model, entry, self.over(link)) for entry in self._entries()),
            balance=Balance(
                strategy=self.load_balance_strategy or ("weighted" if self._weights() else "round_robin"),
                max_retries=self.max_retries,
                max_failures=self.max_failures,
                cooldown=self.cooldown,
                health_check_interval=self._interval() or None,
                queue_timeout=self.queue_timeout,
                max_queue=self.max_queue,
            ),
            fallbacks=self.fallbacks,
        )

    def _interval(self) -> float | None:
        if self.health_check_interval is None and len(self._entries()) > 1:
            return _PROBED_EVERY
        return self.health_check_interval

    def _entries(self) -> tuple[UpstreamSettings, ...]:
        return self.upstreams or (UpstreamSettings(api_base=self.api_base),)

    def _weights(self) -> list[int]:
        return [entry.weight for entry in self.upstreams or () if entry.weight is not None]

    def _target(self, model: str, entry: UpstreamSettings, link: Link) -> Target:
        def first(name: str, default: Any = None) -> Any:
            values = (getattr(place, name) for place in (entry, self))
            return next((value for value in values if value is not None), default)

        key = first("api_key")
        return Target(
            model=model,
            upstream_model=first("upstream_model", model),
            max_output_tokens=self.max_output_tokens,
            weight=1 if entry.weight is None else entry.weight,
            upstream=Upstream(
                name=entry.called,
                base_url=entry.api_base or "",
                api_key=key.get_secret_value() if key else "",
                adapter=first("adapter", _DEFAULTS.adapter),
                api_version=first("api_version", _DEFAULTS.api_version),
                default_max_tokens=first("default_max_tokens", _DEFAULTS.default_max_tokens),
                connect_timeout=first("connect_timeout", _DEFAULTS.connect_timeout),
                first_byte_timeout=first("first_byte_timeout", _DEFAULTS.first_byte_timeout),
                idle_timeout=first("idle_timeout", _DEFAULTS.idle_timeout),
                total_timeout=first("timeout", self.total_timeout or _DEFAULTS.total_timeout),
                link=entry.over(link),
                max_concurrent=first("max_concurrent"),
            ),
        )

    # --- what may be wrong ---

    def _about_places(self) -> Found:
        if self.timeout is not None and self.total_timeout is not None:
            yield ("total_timeout",), "is the same as timeout: give one of the two"
        if self.api_base and self.upstreams is not None:
            yield ("api_base",), "must not be given beside upstreams, whose entries have one each"
        if self.upstreams == ():
            yield ("upstreams",), "has no entry, so that no call could go anywhere"
        if not self.api_base and self.upstreams is None:
            yield (
                ("api_base",),
                "must be given: an http:// or https:// URL, such as https://api.openai.com/v1; or upstreams",
            )

    def _about_adapters(self) -> Found:
        places: dict[tuple[str | int, ...], PlaceSettings] = {
            ("upstreams", number): entry for number, entry in enumerate(self.upstreams or ())
        }
        places = places or {(): self}
        spoken = {path: place.adapter or self.adapter or _DEFAULTS.adapter for path, place in places.items()}
        for adapter, setting in (("azure", "api_version"), ("anthropic", "default_max_tokens")):
            for path, place in {(): self, **places}.items():
                here = spoken.values() if place is self else [spoken[path]]
                if getattr(place, setting) is not None and adapter not in here:
                    yield (*path, setting), f"is read for adapter {adapter} only; leave it out"
        without = [path for path, place in places.items() if not (place.api_version or self.api_version)]
        # Blamed is who says azure: the entry, or else the model.
        blamed = {path if places[path].adapter else () for path in without if spoken[path] == "azure"}
        for path in sorted(blamed):
            yield (*path, "api_version"), "must be given for adapter azure, such as 2024-10-21"
