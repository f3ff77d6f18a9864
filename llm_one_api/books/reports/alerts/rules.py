"""What is asked of a figure, how long, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Literal, get_args

from llm_one_api.values import Value

Metric = Literal[
    "avg_tokens",
    "error_rate",
    "avg_duration",
    "p95_duration",
    "avg_ttft",
    "p95_ttft",
    "unpriced_share",
    "cost_per_hour",
    "cost_per_day",
    "quota_percent",
    "relay_lag",
    "dead_letters",
    "upstream_down",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
Dimension = Literal["model", "user", "key", "endpoint", "upstream"]
Severity = Literal["info", "warning", "critical"]

OF_CALLS: frozenset[Metric] = frozenset(
    {"avg_tokens", "error_rate", "avg_duration", "p95_duration", "avg_ttft", "p95_ttft", "unpriced_share"}
)
"""Of the calls of a sliding window, of which there must be enough."""
OF_COST: frozenset[Metric] = frozenset({"cost_per_hour", "cost_per_day"})
PERCENTILES: frozenset[Metric] = frozenset({"p95_duration", "p95_ttft"})
FILTERS: Mapping[Metric, tuple[Dimension, ...]] = {
    **dict.fromkeys(OF_CALLS | OF_COST, get_args(Dimension)),
    **dict.fromkeys(PERCENTILES, ("model", "endpoint", "upstream")),
    "quota_percent": ("model", "user", "key"),
    "upstream_down": ("model", "upstream"),
}
"""By what a rule may choose; percentiles are not kept by user and key."""

Group = tuple[tuple[str, str], ...]
"""The values by which a rule tells its alerts apart, in order."""


class Rule(Value, frozen=True, kw_only=True):
    """When somebody is told. Times of zero: at once, never again."""

    name: str
    metric: Metric
    above: Decimal
    """It fires when the figure is above."""
    resolve_at: Decimal
    """It is over when the figure is that or less."""
    window: timedelta = timedelta(minutes=15)
    min_requests: int = 10
    """Fewer calls in the window tell nothing."""
    hold: timedelta = timedelta()
    """How long the figure has to be above (`for` in the config)."""
    cooldown: timedelta = timedelta(minutes=30)
    """How soon it is told again, if it begins again."""
    repeat: timedelta | None = None
    """How often it is told again while it goes on; None: it is not."""
    severity: Severity = "warning"
    where: Mapping[Dimension, tuple[str, ...]] = {}
    group_by: tuple[Dimension, ...] = ()
    channels: tuple[str, ...] = ()
    """Who is told."""


class Channel(Value, frozen=True, kw_only=True):
    """Where somebody is told. Its URL is a secret, for most of them hold one."""

    name: str
    kind: Literal["apprise", "webhook"]
    url: str
    secrets: tuple[str, ...] = ()
    """That a webhook is signed with (`whsec_…`); more than one while they are being replaced."""
    timeout: float = 15.0
    proxy: str = ""
    """A secret, too. Empty: none."""
    ca_file: str = ""
    """Certificate authorities that are trusted beside those that everybody trusts. Empty: none."""

    def __repr__(self) -> str:
        return f"Channel(name={self.name!r}, kind={self.kind!r})"

    @property
    def service(self) -> str:
        """Say what kind of place it is: the URL's scheme, and nothing else of it."""
        return "webhook" if self.kind == "webhook" else self.url.partition(":")[0].lower()


class Alerting(Value, frozen=True, kw_only=True):
    """All rules and channels."""

    rules: tuple[Rule, ...] = ()
    channels: Mapping[str, Channel] = {}
