"""A look at all rules: one at a time, however many clocks strike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import structlog

from llm_one_api.books.reports.alerts.figures import Figures, Looking
from llm_one_api.books.reports.alerts.judging import Figure, Judged, absent, judge
from llm_one_api.books.reports.alerts.rules import Alerting, Rule
from llm_one_api.books.reports.alerts.wording import data_of
from llm_one_api.stores.ledger.alerts import Alert, Alerts, Event, Kind, Turn
from llm_one_api.values import Value

log = structlog.get_logger()

LEASE = 45.0
"""Seconds that a look may take before another begins one."""
APART = 30.0
"""Seconds between the beginnings of two looks, at least: two clocks strike at about the same time."""
FORGET = timedelta(hours=1)
"""How long alerts are kept whose rule nobody looks at any more."""
KEEP_RESOLVED = timedelta(days=7)
KEEP_EVENTS = timedelta(days=90)
MOST_GROUPS = 1000
"""Alerts of a rule that are looked at, beside those that there are."""


class Looked(Value, frozen=True, kw_only=True):
    """What a look came to."""

    rules: int
    firing: int
    events: int


class Check:
    """Looks at the rules, and keeps what follows."""

    def __init__(
        self, alerts: Alerts, alerting: Alerting, zone: ZoneInfo, looking: Callable[[datetime], Looking]
    ) -> None:
        """Go by the rules of *alerting*; *looking* looks at the figures of a moment."""
        self._alerts = alerts
        self._rules = alerting.rules
        self._zone = zone
        self._looking = looking

    def run(self, apart: float = APART) -> Looked | None:
        """Take a turn; None: it is another's, or it was lately. Raises what the ledger raises."""
        turn = self._alerts.claim(LEASE, apart)
        if turn is None:
            return None
        try:
            looking = self._looking(turn.now)
            figures = {rule.name: looking.of(rule) for rule in self._rules}
            done = self._keep(turn, figures)
        except BaseException:
            self._alerts.release(turn)
            raise
        self._alerts.prune(turn.now - KEEP_EVENTS)
        return done

    def _keep(self, turn: Turn, figures: Mapping[str, Figures | None]) -> Looked | None:
        known: dict[str, dict[str, Alert]] = {}
        for alert in self._alerts.all():
            known.setdefault(alert.rule, {})[alert.group] = alert
        silent = {rule for rule, one in self._alerts.silences().items() if one.until > turn.now}
        firing = 0
        changed: list[Alert] = []
        gone: list[Alert] = []
        events: list[Event] = []
        for rule in self._rules:
            before = known.pop(rule.name, {})
            for group, judged, figure in self._judged(rule, before, figures[rule.name], turn.now, rule.name in silent):
                was = before.get(group)
                after = judged.alert
                if after is None or _is_over(after, turn.now):
                    gone += [was] if was is not None else []
                    continue
                firing += after.state == "firing"
                if after != was:
                    changed.append(after)
                if judged.event is not None:
                    events.append(self._event(rule, after, judged, figure, turn.now))
        # Of rules that are no more; but others may have a newer config, and know them.
        rest = [alert for before in known.values() for alert in before.values()]
        gone += [alert for alert in rest if turn.now - alert.seen_at > FORGET]
        if self._alerts.finish(turn, changed, gone, events) is None:
            log.warning("alerts.overtaken")
            return None
        for event in events:
            _say(event)
        return Looked(rules=len(self._rules), firing=firing, events=len(events))

    def _judged(
        self, rule: Rule, before: Mapping[str, Alert], figures: Figures | None, now: datetime, silent: bool
    ) -> list[tuple[str, Judged, Figure | None]]:
        groups = dict.fromkeys([*before, *_busiest(rule, figures or {})])
        found = []
        for group in groups:
            figure = None if figures is None else figures.get(group, absent(rule))
            found.append((group, judge(rule, group, before.get(group), figure, now, silent=silent), figure))
        return found

    def _told(self, rule: Rule, alert: Alert, kind: Kind) -> Sequence[str]:
        """Tell who is told: of an end, who was told of the beginning."""
        if kind != "resolved":
            return rule.channels
        return self._alerts.mail.told(rule.name, alert.group)

    def _event(self, rule: Rule, alert: Alert, judged: Judged, figure: Figure | None, now: datetime) -> Event:
        kind = judged.event or "firing"
        return Event(
            kind=kind,
            rule=rule.name,
            group=alert.group,
            at=now,
            data=data_of(rule, kind, alert, figure, self._zone),
            withheld=judged.withheld,
            channels=() if judged.withheld else self._told(rule, alert, kind),
        )


def _busiest(rule: Rule, figures: Figures) -> Iterable[str]:
    """Give the groups that are looked at: those with the largest figures, if there are too many."""
    if len(figures) <= MOST_GROUPS:
        return figures
    log.warning("alerts.too_many_groups", rule=rule.name, groups=len(figures), looked_at=MOST_GROUPS)
    ranked = sorted(figures, key=lambda group: figures[group].value or 0, reverse=True)
    return ranked[:MOST_GROUPS]


def _is_over(alert: Alert, now: datetime) -> bool:
    """Tell whether nobody needs to know any more that it was."""
    return alert.state == "resolved" and alert.told != "firing" and now - alert.since > KEEP_RESOLVED


def _say(event: Event) -> None:
    """Log it, whoever else is told."""
    told = msgspec.json.decode(event.data)
    named = {
        "rule": event.rule,
        "group": told["group"],
        "value": told["value"],
        "above": told["above"],
        "withheld": event.withheld,
        "channels": list(event.channels),
    }
    if event.kind == "resolved":
        log.info("alerts.resolved", **named)
    elif event.kind == "repeat":
        log.warning("alerts.still_firing", **named)
    else:
        log.warning("alerts.firing", **named)
