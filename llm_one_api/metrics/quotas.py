"""How full quotas are: of each kind the fullest, and with users told apart each.

By what the ledger has booked, like the announcements of crossed quotas: what calls under way have reserved comes to it
within a second of their end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from prometheus_client.core import Metric

from llm_one_api.books.quotas.crossings import standings
from llm_one_api.limits.rules import Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.metrics.families import gauge
from llm_one_api.metrics.labels import Labels
from llm_one_api.stores.ledger.ledger import Ledger

MOST_SCOPES = 1000
"""Whose quotas are told apart, the fullest; the others are left out."""


class QuotaRatios:
    """Compares what is booked with the limits."""

    def __init__(self, rules: Rules, zone: ZoneInfo, *, each: bool) -> None:
        """Use *rules*; *each*: tell scopes apart."""
        self._rules = rules
        self._calendar = Calendar(zone)
        self._each = each

    def __call__(self, ledger: Ledger, now: datetime) -> Iterable[Metric]:
        """Give the metric."""
        if not self._rules.have_quotas:
            return
        found: dict[Labels, float] = {}
        for labels, ratio in self._ratios(ledger, now.timestamp()):
            found[labels] = max(ratio, found.get(labels, 0.0))
        fullest = sorted(found, key=lambda labels: found[labels], reverse=True)[:MOST_SCOPES]
        yield gauge("quota_used_ratio", {labels: found[labels] for labels in fullest})

    def _ratios(self, ledger: Ledger, now: float) -> Iterator[tuple[Labels, float]]:
        for one in standings(ledger.quotas, self._rules, self._calendar, now):
            kind, _, name = one.scope.partition(":")
            labels: Labels = (("kind", kind), ("period", one.period), ("unit", one.unit))
            # A limit of nothing is full from the start.
            yield (*labels, ("name", name)) if self._each else labels, one.used / one.limit if one.limit else 1.0
