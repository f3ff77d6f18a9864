"""How `llm-one-api alerts` shows what there is, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.alerts.rules import Alerting, Rule
from llm_one_api.books.reports.alerts.wording import group_words, local, plain, shown
from llm_one_api.cli.table import table
from llm_one_api.stores.ledger.alert_mail import Happened, Sent
from llm_one_api.stores.ledger.alerts import Alert, Silence
from llm_one_api.values import Value

_LATE_SECONDS = 300.0
_HEAD = ("RULE", "STATE", "SINCE", "FIGURE", "LIMIT", "REMARK")


class Page(Value, frozen=True, kw_only=True):
    """What `list` shows."""

    what: Alerting
    known: Sequence[Alert]
    silences: Mapping[str, Silence]
    now: datetime
    checked_at: datetime | None
    zone: ZoneInfo

    def lines(self) -> Iterator[str]:
        """Give it as lines."""
        if not self.what.rules:
            yield "There are no rules (alerts.rules)."
        else:
            yield from table(_HEAD, [row for rule in self.what.rules for row in self._rows(rule)])
        channels = [f"{name} ({channel.service})" for name, channel in self.what.channels.items()]
        yield ""
        yield f"Channels: {', '.join(channels) or 'none; what happens is logged, and listed here'}."
        if self.checked_at is None:
            yield "Nobody has looked at the rules yet: beat and a worker for `jobs` do, each minute."
        else:
            late = (self.now - self.checked_at).total_seconds() > _LATE_SECONDS
            more = ": beat, or the worker for `jobs`, is away" if late else ""
            yield f"Looked at last {local(self.checked_at, self.zone)}{more}."

    def laid_out(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {
            "checked_at": self.checked_at and local(self.checked_at, self.zone),
            "rules": [self._rule(rule) for rule in self.what.rules],
            "channels": [{"name": name, "service": one.service} for name, one in self.what.channels.items()],
        }

    def _rows(self, rule: Rule) -> Iterator[tuple[str, ...]]:
        limit, silent = shown(rule.metric, rule.above), self._silent(rule)
        remark = f"silent until {local(silent.until, self.zone)}" if silent else ""
        alerts = self._of(rule)
        if not alerts:
            yield rule.name, "ok", "-", "-", limit, remark
        for alert in alerts:
            state = "ok" if alert.state == "resolved" else alert.state.upper() if alert.state == "firing" else "pending"
            remarks = [group_words(msgspec.json.decode(alert.group)), remark]
            figure = shown(rule.metric, alert.value)
            yield rule.name, state, local(alert.since, self.zone), figure, limit, "; ".join(filter(None, remarks))

    def _rule(self, rule: Rule) -> dict[str, Any]:
        silent = self._silent(rule)
        return {
            "name": rule.name,
            "metric": rule.metric,
            "above": plain(rule.above),
            "resolve_at": plain(rule.resolve_at),
            "severity": rule.severity,
            "channels": list(rule.channels),
            "silent_until": silent and local(silent.until, self.zone),
            "silent_because": silent and silent.reason,
            "alerts": [
                {
                    "group": msgspec.json.decode(alert.group),
                    "state": alert.state,
                    "since": local(alert.since, self.zone),
                    "value": None if alert.value is None else plain(alert.value),
                    "seen_at": local(alert.seen_at, self.zone),
                    "told": alert.told,
                }
                for alert in self._of(rule)
            ],
        }

    def _of(self, rule: Rule) -> list[Alert]:
        return [alert for alert in self.known if alert.rule == rule.name]

    def _silent(self, rule: Rule) -> Silence | None:
        found = self.silences.get(rule.name)
        return found if found is not None and found.until > self.now else None


def history(events: Sequence[Happened], zone: ZoneInfo) -> Iterator[str]:
    """Give what happened as a table."""
    if events:
        yield from table(
            ("AT", "WHAT", "RULE", "FIGURE", "TOLD", "OF"),
            [
                (
                    local(each.at, zone),
                    each.kind,
                    each.rule,
                    shown(each.data["metric"], each.data["value"]),
                    _told(each),
                    group_words(each.data["group"]),
                )
                for each in events
            ],
        )


def event(each: Happened, zone: ZoneInfo) -> dict[str, Any]:
    """Lay out what happened as JSON."""
    return {
        "id": f"msg_{each.uid}",
        "at": local(each.at, zone),
        "kind": each.kind,
        "withheld": each.withheld,
        "data": each.data,
        "sent": [
            {
                "channel": one.channel,
                "state": one.state,
                "tries": one.tries,
                "error": one.error,
                "done_at": one.done_at and local(one.done_at, zone),
            }
            for one in each.sent
        ],
    }


def _told(each: Happened) -> str:
    if each.withheld is not None:
        return f"nobody ({each.withheld})"
    return ", ".join(map(_to, each.sent)) or "nobody (no channel)"


def _to(one: Sent) -> str:
    if one.state == "sent":
        return one.channel
    return f"{one.channel} {'FAILED' if one.state == 'failed' else 'not yet'}{f': {one.error}' if one.error else ''}"
