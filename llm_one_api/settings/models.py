"""The section `models`: what callers may ask for, and where each goes."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from llm_one_api.settings.kinds import (
    ApiBaseOrNone,
    ApiKey,
    ApiKeyOrNone,
    CountOrNone,
    Expect,
    SecondsOrNone,
    TextOrNone,
    fault,
    not_landed,
)
from llm_one_api.settings.sections import Section
from llm_one_api.targets import Adapter, Target, Upstream

_DEFAULTS = Upstream(name="", base_url="")


def _one(upstreams: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if upstreams is not None and len(upstreams) != 1:
        raise fault("must have exactly one entry: several upstreams for a model are not available in this version")
    return upstreams


AdapterName = Annotated[Adapter, Expect("openai, anthropic or azure")]
ApiVersionOrNone = Annotated[
    str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$"), Expect("a version such as 2024-10-21")
]


class UpstreamSettings(Section):
    """One entry of a model's `upstreams`. What is not given here is the model's."""

    name: TextOrNone = None
    """Its name in records. Nothing: the host of `api_base`."""
    api_base: ApiBaseOrNone = None
    """Where it is, such as `https://api.openai.com/v1`."""
    api_key: ApiKeyOrNone = None
    """The key that it is called with. Empty: none is sent."""
    upstream_model: TextOrNone = None
    """What it calls the model."""
    timeout: SecondsOrNone = None
    """Seconds that a call may take in all."""
    connect_timeout: SecondsOrNone = None
    """Seconds to connect in."""
    first_byte_timeout: SecondsOrNone = None
    """Seconds until the answer must begin."""
    idle_timeout: SecondsOrNone = None
    """Seconds of silence within an answer."""
    weight: Annotated[Any, Expect("a number"), not_landed("weights are")] = None
    """Its share of the calls; not available in this version."""

    @model_validator(mode="after")
    def _has_a_base(self) -> UpstreamSettings:
        if not self.api_base:
            raise fault("must be given: an http:// or https:// URL", field="api_base")
        return self


class ModelSettings(Section):
    """A model by the name that callers use. It needs `api_base`, or one entry in `upstreams`."""

    api_base: ApiBaseOrNone = None
    """Where calls go, such as `https://api.openai.com/v1`: what an endpoint's path is put behind."""
    api_key: ApiKey = SecretStr("")
    """The key that the upstream is called with; best as `${NAME}`. Empty: none is sent."""
    upstream_model: TextOrNone = None
    """What the upstream calls the model. Nothing: the same name."""
    adapter: AdapterName = "openai"
    """How the upstream speaks: `openai`, `anthropic` (chats are translated) or `azure` (deployments)."""
    api_version: ApiVersionOrNone = None
    """Azure's `api-version`, such as `2024-10-21`; it has to be given for `adapter: azure`, and for no other."""
    default_max_tokens: CountOrNone = None
    """With `adapter: anthropic`: what a chat may put out whose caller sets no limit. Nothing: 4096."""
    max_output_tokens: CountOrNone = None
    """The most that the model puts out in one answer: a quota reserves no more for it. Nothing: it is not known."""
    timeout: SecondsOrNone = None
    """Seconds that a call may take in all. Nothing: 1800."""
    total_timeout: SecondsOrNone = None
    """The same as `timeout`; give one of the two."""
    connect_timeout: SecondsOrNone = None
    """Seconds to connect in. Nothing: 10."""
    first_byte_timeout: SecondsOrNone = None
    """Seconds until the answer must begin. Nothing: 300."""
    idle_timeout: SecondsOrNone = None
    """Seconds of silence within an answer. Nothing: 120."""
    upstreams: Annotated[
        tuple[UpstreamSettings, ...] | None, AfterValidator(_one), Expect("a list with one upstream")
    ] = None
    """The long form of `api_base` and `api_key`. Exactly one entry in this version."""
    load_balance_strategy: Annotated[Any, Expect("a name"), not_landed("load balancing is")] = None
    """How calls are spread over several upstreams; not available in this version."""
    health_check_interval: Annotated[Any, Expect("seconds"), not_landed("health checks of upstreams are")] = None
    """Seconds between two probes of an upstream; not available in this version."""
    max_failures: Annotated[Any, Expect("a number"), not_landed("taking upstreams out of rotation is")] = None
    """Failures after which an upstream rests; not available in this version."""
    weight: Annotated[Any, Expect("a number"), not_landed("weights are")] = None
    """An upstream's share of the calls; not available in this version."""

    @model_validator(mode="after")
    def _has_one_place(self) -> ModelSettings:
        if self.timeout is not None and self.total_timeout is not None:
            raise fault("is the same as timeout: give one of the two", field="total_timeout")
        if self.adapter == "azure" and not self.api_version:
            raise fault("must be given for adapter azure, such as 2024-10-21", field="api_version")
        if self.adapter != "azure" and self.api_version:
            raise fault("is read for adapter azure only; leave it out", field="api_version")
        if self.adapter != "anthropic" and self.default_max_tokens:
            raise fault("is read for adapter anthropic only; leave it out", field="default_max_tokens")
        if self.api_base and self.upstreams:
            raise fault("must not be given beside upstreams, whose entry has one of its own", field="api_base")
        if not self.api_base and not self.upstreams:
            raise fault(
                "must be given: an http:// or https:// URL, such as https://api.openai.com/v1", field="api_base"
            )
        return self

    def target(self, model: str) -> Target:
        """Tell where calls to *model*, which this is, go."""
        place = self.upstreams[0] if self.upstreams else UpstreamSettings(api_base=self.api_base)
        base = place.api_base or ""
        key = (self.api_key if place.api_key is None else place.api_key).get_secret_value()
        return Target(
            model=model,
            upstream_model=place.upstream_model or self.upstream_model or model,
            max_output_tokens=self.max_output_tokens,
            upstream=Upstream(
                name=place.name or urlsplit(base).netloc,
                base_url=base,
                api_key=key,
                adapter=self.adapter,
                api_version=self.api_version or "",
                default_max_tokens=self.default_max_tokens or _DEFAULTS.default_max_tokens,
                connect_timeout=place.connect_timeout or self.connect_timeout or _DEFAULTS.connect_timeout,
                first_byte_timeout=place.first_byte_timeout or self.first_byte_timeout or _DEFAULTS.first_byte_timeout,
                idle_timeout=place.idle_timeout or self.idle_timeout or _DEFAULTS.idle_timeout,
                total_timeout=place.timeout or self.timeout or self.total_timeout or _DEFAULTS.total_timeout,
            ),
        )
