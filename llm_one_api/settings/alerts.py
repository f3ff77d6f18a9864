"""The section `alerts`: rules over figures, and who is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from llm_one_api.books.reports.alerts.rules import (
    FILTERS,
    OF_CALLS,
    OF_COST,
    Alerting,
    Dimension,
    Metric,
    Rule,
    Severity,
)
from llm_one_api.settings.alert_channels import ChannelSettings
from llm_one_api.settings.kinds import Count, Expect, fault, faults, listed
from llm_one_api.settings.limits import Fingerprints, Names
from llm_one_api.settings.links import AuthorityFile, ProxyUrl
from llm_one_api.settings.sections import Section

_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"(\d{1,9})\s*([smhd]?)", re.ASCII)
_THRESHOLD = re.compile(r"(\d{1,15}(?:\.\d{1,12})?)\s*(%?)", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_DAY = 86400
_WEEK, _MONTH = 7 * _DAY, 31 * _DAY


def _seconds(value: Any) -> int:
    match = _LENGTH.fullmatch(str(value).strip()) if isinstance(value, str | int) else None
    if match is None or isinstance(value, bool):
        raise ValueError("no length of time")
    return int(match[1]) * _SECONDS[match[2] or "s"]


def _length(least: int, most: int, nothing: int | None = None) -> PlainValidator:
    def read(value: Any) -> int | None:
        if value is None:
            return nothing
        seconds = _seconds(value)
        if not least <= seconds <= most:
            raise ValueError("out of range")
        return seconds

    return PlainValidator(read)


def _threshold(value: Any) -> Decimal | None:
    """Read a number, or a share in percent: `5%` is 0.05."""
    if value is None:
        return None
    match = _THRESHOLD.fullmatch(str(value).replace("_", ""))
    if match is None or isinstance(value, bool):
        raise ValueError("no number")
    number = Decimal(match[1])
    return number / 100 if match[2] else number


def _are_named(sections: Any) -> Any:
    """Refuse names that could not stand on a command line."""
    wrong = [name for name in sections if not _NAME.fullmatch(str(name))] if isinstance(sections, dict) else []
    if wrong:
        raise fault("names have 1 to 100 letters, digits and . _ -, such as error-rate", field=str(wrong[0]))
    return sections


_LENGTH_TEXT = "a length of time, such as 90s, 15m, 2h or 1d, {}"
Window = Annotated[int, _length(60, _WEEK), Expect(_LENGTH_TEXT.format("between 1m and 7d"))]
Hold = Annotated[int, _length(0, _DAY, nothing=0), Expect(_LENGTH_TEXT.format("at most 1d"))]
Cooldown = Annotated[int, _length(0, _MONTH), Expect(_LENGTH_TEXT.format("at most 31d"))]
RepeatOrNone = Annotated[int | None, _length(60, _MONTH), Expect(_LENGTH_TEXT.format("between 1m and 31d"))]
_NUMBER = "a number of at least 0, such as 1000, 0.05 or 5%"
Threshold = Annotated[Decimal, PlainValidator(_threshold), Expect(_NUMBER)]
ThresholdOrNone = Annotated[Decimal | None, PlainValidator(_threshold), Expect(_NUMBER)]
Dimensions = Annotated[
    tuple[Dimension, ...], BeforeValidator(listed), Expect("model, user, key, endpoint, upstream, or a list of them")
]
NamesOrNone = Annotated[tuple[str, ...] | None, BeforeValidator(listed), Expect("a list of names of channels")]


class WhereSettings(Section):
    """Which calls, upstreams or quotas a rule is about; without it, all."""

    model: Names = ()
    """Of these models."""
    user: Names = ()
    """Of these users."""
    key: Fingerprints = ()
    """Of these keys, by their fingerprints."""
    endpoint: Names = ()
    """Of these endpoints, such as `chat`."""
    upstream: Names = ()
    """Of these upstreams."""

    def given(self) -> dict[Dimension, tuple[str, ...]]:
        """Give those that are given."""
        return {name: getattr(self, name) for name in get_args(Dimension) if getattr(self, name)}


class RuleSettings(Section):
    """When somebody is told. `alerts.md` says what each metric is.

    Where the section is left out there are three rules, each over the calls of 15 minutes: `avg-tokens` (`avg_tokens`
    above 1000), `error-rate` (`error_rate` above 5%) and `avg-duration` (`avg_duration` above 5). Those that are given
    take their place.
    """

    metric: Annotated[Metric, Expect(f"one of {', '.join(get_args(Metric))}")]
    """The figure that it is about."""
    above: Threshold
    """It fires when the figure is above. Shares as 0.05 or 5%, times in seconds, costs in USD."""
    resolve_at: ThresholdOrNone = None
    """It is over when the figure is that or less. Nothing: the same as `above`."""
    window: Window = 900
    """The stretch of time, up to now, whose calls are looked at."""
    min_requests: Count = 10
    """Fewer calls in the window tell nothing."""
    hold: Annotated[Hold, Field(alias="for")] = 0
    """How long the figure must be above before it fires."""
    cooldown: Cooldown = 1800
    """How soon it is told again if it fires again."""
    repeat: RepeatOrNone = None
    """How often it is told again while it goes on firing. Nothing: once."""
    severity: Severity = "warning"
    """How grave it is, for whoever is told."""
    where: WhereSettings = WhereSettings()
    group_by: Dimensions = ()
    """By what it is looked at apart: each model for itself, say, with an alert of its own."""
    channels: NamesOrNone = None
    """Which channels are told. Nothing: all."""

    @model_validator(mode="after")
    def _fits_its_metric(self) -> RuleSettings:
        wrong = [(path, message) for path, message in self._misfits() if message]
        if wrong:
            raise faults(wrong)
        return self

    def _misfits(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Give what would have no effect, and what nobody could know."""
        given, fits = self.model_fields_set, FILTERS.get(self.metric, ())
        if self.metric not in OF_CALLS:
            for name in ("window", "min_requests"):
                if name in given:
                    yield (name,), f"is not read for {self.metric}; leave it out"
        names = f"{', '.join(fits)} only" if fits else "nothing; leave it out"
        for dimension in self.where.given():
            if dimension not in fits:
                yield ("where", dimension), f"for {self.metric} may name {names}"
        if self.group_by and self.metric not in OF_CALLS | OF_COST:
            told_apart = self.metric in {"quota_percent", "upstream_down"}
            each = " (each has an alert of its own anyway)" if told_apart else ""
            yield ("group_by",), f"is not read for {self.metric}{each}; leave it out"
        elif not set(self.group_by) <= set(fits):
            yield ("group_by",), f"for {self.metric} may name {names}"
        if len(set(self.group_by)) != len(self.group_by):
            yield ("group_by",), "names something twice"
        if self.resolve_at is not None and self.resolve_at > self.above:
            yield ("resolve_at",), f"must not be more than above ({self.above:f})"

    def rule(self, name: str, channels: tuple[str, ...]) -> Rule:
        """Make the rule; *channels* are all that there are."""
        return Rule(
            name=name,
            metric=self.metric,
            above=self.above,
            resolve_at=self.above if self.resolve_at is None else self.resolve_at,
            window=timedelta(seconds=self.window),
            min_requests=self.min_requests,
            hold=timedelta(seconds=self.hold),
            cooldown=timedelta(seconds=self.cooldown),
            repeat=None if self.repeat is None else timedelta(seconds=self.repeat),
            severity=self.severity,
            where=self.where.given(),
            group_by=self.group_by,
            channels=channels if self.channels is None else self.channels,
        )


def _founding_rules() -> dict[str, RuleSettings]:
    """Give the three that the founding document asks for."""
    return {
        "avg-tokens": RuleSettings(metric="avg_tokens", above=Decimal(1000)),
        "error-rate": RuleSettings(metric="error_rate", above=Decimal("0.05")),
        "avg-duration": RuleSettings(metric="avg_duration", above=Decimal(5)),
    }


class AlertsSettings(Section):
    """Rules that are looked at every minute, and who is told. Without a channel they are logged and listed."""

    rules: Annotated[dict[str, RuleSettings], BeforeValidator(_are_named), Expect("rules by name")] = Field(
        default_factory=_founding_rules
    )
    """The rules, by name. Given ones take the place of the default ones; `{}`: there are none."""
    channels: Annotated[dict[str, ChannelSettings], BeforeValidator(_are_named), Expect("channels by name")] = Field(
        default={}
    )
    """Who is told, by name."""
    proxy: ProxyUrl = None
    """An HTTP proxy that all channels but e-mail are reached through. Nothing: they are reached directly."""
    ca_file: AuthorityFile = None
    """A file of certificate authorities (PEM) that are trusted, beside those that everybody trusts: for webhooks and
    mail servers of one's own, and proxies that look into TLS."""

    @model_validator(mode="after")
    def _names_channels_that_there_are(self) -> AlertsSettings:
        wrong: list[tuple[tuple[str, ...], str]] = [
            (("rules", name, "channels"), f"there is no such channel: {channel}")
            for name, rule in self.rules.items()
            for channel in rule.channels or ()
            if channel not in self.channels
        ]
        wrong += [
            (("channels", name), "is the name of a rule, too; give it another")
            for name in self.channels
            if name in self.rules
        ]
        if wrong:
            raise faults(wrong)
        return self

    def alerting(self) -> Alerting:
        """Make what is gone by."""
        names = tuple(self.channels)
        return Alerting(
            rules=tuple(rule.rule(name, names) for name, rule in self.rules.items()),
            channels={
                name: channel.channel(name, str(self.proxy or ""), self.ca_file or "")
                for name, channel in self.channels.items()
            },
        )
