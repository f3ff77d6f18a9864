"""What follows from a figure: pure, so a table of figures tells all that can happen."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from llm_one_api.books.reports.alerts.rules import OF_CALLS, Rule
from llm_one_api.stores.ledger.alerts import Alert, Kind, State, Withheld
from llm_one_api.values import Value

GAP = timedelta(minutes=5)
"""If nobody has looked for so long, nobody knows whether a figure was above all the time."""


class Figure(Value, frozen=True, kw_only=True):
    """A figure as it is just now."""

    value: Decimal | None
    """None: too few calls to tell."""
    samples: int | None = None
    """The calls that it is of; None: it is of none."""


class Judged(NamedTuple):
    """What follows."""

    alert: Alert | None
    """How it stands; None: there is none, or none any more."""
    event: Kind | None = None
    """What has happened."""
    withheld: Withheld | None = None
    """Why nobody is told; None: they are."""


def judge(
    rule: Rule, group: str, before: Alert | None, figure: Figure | None, now: datetime, *, silent: bool = False
) -> Judged:
    """Tell how an alert stands now that was *before*, and what is to be told.

    Without a *figure* (what it is taken from is away) nothing begins and nothing ends.
    """
    after = _state(rule, group, before, figure, now)
    if after is None:
        return Judged(None)
    was = "resolved" if before is None else before.state
    event = _event(rule, was, after, now)
    if event is None:
        return Judged(after)
    withheld = _withheld(rule, after, event, now, silent=silent)
    if withheld is not None:
        # It is kept once, when it happens; when it is told later, that is another event.
        return Judged(after, event, withheld) if was != after.state else Judged(after)
    told: State = "resolved" if event == "resolved" else "firing"
    return Judged(structs.replace(after, told=told, told_at=after.told_at if event == "resolved" else now), event)


def _event(rule: Rule, was: State, after: Alert, now: datetime) -> Kind | None:
    if after.state == "firing":
        if after.told != "firing":
            return "firing"
        due = rule.repeat is not None and after.told_at is not None and abs(now - after.told_at) >= rule.repeat
        return "repeat" if due else None
    has_ended = after.state == "resolved" and (was == "firing" or after.told == "firing")
    return "resolved" if has_ended else None


def _withheld(rule: Rule, alert: Alert, event: Kind, now: datetime, *, silent: bool) -> Withheld | None:
    if silent:
        return "silence"
    if event == "resolved":
        return None if alert.told == "firing" else "untold"
    # What was told in the future was told by a clock that was ahead.
    told_lately = alert.told_at is not None and timedelta() <= now - alert.told_at < rule.cooldown
    return "cooldown" if event == "firing" and told_lately else None


def _state(rule: Rule, group: str, before: Alert | None, figure: Figure | None, now: datetime) -> Alert | None:
    """Tell how it stands, but for what is told."""
    if figure is None:
        # A look that could not be had does not count for the patience with too few calls.
        few = before is not None and before.state == "firing" and before.value is None
        return structs.replace(before, seen_at=now) if few and before is not None else before
    value = figure.value
    if value is None:
        return _without_calls(rule, before, now)
    fresh = Alert(rule=rule.name, group=group, state="resolved", since=now, seen_at=now)
    alert = structs.replace(before or fresh, value=value, seen_at=now)
    if value > rule.above:
        return _above(rule, before, alert, now)
    if alert.state == "firing" and value <= rule.resolve_at:
        return structs.replace(alert, state="resolved", since=now)
    if alert.state == "pending":
        return _forgotten(alert, now)
    return None if before is None else alert


def _above(rule: Rule, before: Alert | None, alert: Alert, now: datetime) -> Alert:
    if alert.state == "firing":
        return alert
    if before is None or before.state != "pending" or now - before.seen_at > GAP or before.since > now:
        alert = structs.replace(alert, state="pending", since=now)
    if now - alert.since >= rule.hold:
        alert = structs.replace(alert, state="firing", since=now)
    return alert


def _without_calls(rule: Rule, before: Alert | None, now: datetime) -> Alert | None:
    """Have too few calls tell nothing; when that lasts as long as a window, what fired is over."""
    if before is None:
        return None
    if before.state == "pending":
        return _forgotten(before, now)
    if before.state != "firing":
        return before
    if before.value is not None:  # from now on
        return structs.replace(before, value=None, seen_at=now)
    return structs.replace(before, state="resolved", since=now) if now - before.seen_at >= rule.window else before


def _forgotten(alert: Alert, now: datetime) -> Alert | None:
    """Have what was only pending leave no trace, unless it is known when it was told last."""
    if alert.told is None and alert.told_at is None:
        return None
    return structs.replace(alert, state="resolved", since=now)


def absent(rule: Rule) -> Figure:
    """Tell what the figure is of a group that is not there any more."""
    if rule.metric in OF_CALLS:
        return Figure(value=None, samples=0)
    return Figure(value=Decimal(0))
