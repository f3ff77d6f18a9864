"""Tests of channels: messages that say that nothing has happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from llm_one_api.books.reports.alerts.figures import Figures, written
from llm_one_api.books.reports.alerts.judging import Figure
from llm_one_api.books.reports.alerts.rules import Rule
from llm_one_api.books.reports.alerts.wording import data_of
from llm_one_api.stores.ledger.alerts import Alert, Event

EXAMPLE = Rule(name="test", metric="error_rate", above=Decimal("0.05"), resolve_at=Decimal("0.05"))
"""What a test of a channel is about."""


def event_of_test(rule: Rule, figures: Figures | None, now: datetime, zone: ZoneInfo, channels: Sequence[str]) -> Event:
    """Make an event that tells of *rule* as if it fired, with the largest of its *figures*."""
    known = {group: one for group, one in (figures or {}).items() if one.value is not None}
    group, figure = max(known.items(), key=lambda one: one[1].value or 0, default=(written(()), Figure(value=None)))
    alert = Alert(rule=rule.name, group=group, state="firing", since=now, seen_at=now, value=figure.value)
    return Event(
        kind="test",
        rule=rule.name,
        group=group,
        at=now,
        data=data_of(rule, "test", alert, figure, zone),
        channels=channels,
    )
