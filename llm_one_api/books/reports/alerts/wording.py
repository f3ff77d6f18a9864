"""What is told: as JSON for machines, as a title and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.books.reports.alerts.judging import Figure
from llm_one_api.books.reports.alerts.rules import OF_CALLS, Rule
from llm_one_api.stores.ledger.alerts import Alert, Kind
from llm_one_api.values import Value

_LONGEST = 100
_PLACES, _LEAST_ROUNDED = 4, Decimal("0.01")
"""Of USD, for people; what is less than a cent they see whole."""
_WORDS: Mapping[str, str] = {"firing": "FIRING", "repeat": "STILL FIRING", "resolved": "RESOLVED", "test": "TEST"}
_NAMES: Mapping[str, str] = {
    "avg_tokens": "tokens a call",
    "error_rate": "error rate",
    "avg_duration": "average duration",
    "p95_duration": "duration of 95 % of calls",
    "avg_ttft": "average time to the first token",
    "p95_ttft": "time to the first token of 95 % of calls",
    "unpriced_share": "calls without a known cost",
    "cost_per_hour": "cost of the last hour",
    "cost_per_day": "cost of the day",
    "quota_percent": "used of the quota",
    "relay_lag": "lag of records",
    "dead_letters": "records set aside",
    "upstream_down": "upstream",
}


class Message(Value, frozen=True, kw_only=True):
    """Something that is told, for people and for machines."""

    uid: str
    """Its name, which stays the same however often it is sent."""
    kind: str
    severity: str
    title: str
    body: str
    payload: str
    """As JSON."""


def data_of(rule: Rule, kind: Kind, alert: Alert, figure: Figure | None, zone: ZoneInfo) -> str:
    """Write down what there is to tell, so that it is told alike however late, and however often."""
    group: dict[str, str] = msgspec.json.decode(alert.group)
    data = {
        "rule": rule.name,
        "metric": rule.metric,
        "severity": rule.severity,
        "state": kind if kind == "test" else alert.state,
        "group": group,
        "value": None if alert.value is None else plain(alert.value),
        "above": plain(rule.above),
        "resolve_at": plain(rule.resolve_at),
        "window_seconds": round(rule.window.total_seconds()) if rule.metric in OF_CALLS else None,
        "requests": None if figure is None else figure.samples,
        "where": {name: list(values) for name, values in rule.where.items()},
        "since": local(alert.since, zone),
    }
    return msgspec.json.encode(data).decode()


def message(uid: str, kind: str, at: datetime, data: str, zone: ZoneInfo) -> Message:
    """Put into words what was written down."""
    told: dict[str, Any] = msgspec.json.decode(data)
    payload = {"type": f"alert.{kind}", "timestamp": local(at, zone), "data": told}
    return Message(
        uid=uid,
        kind=kind,
        severity=told["severity"],
        title=_title(kind, told),
        body="\n".join(_lines(kind, told)),
        payload=msgspec.json.encode(payload).decode(),
    )


def shown(metric: str, value: Decimal | str | None) -> str:
    """Write a figure as people do."""
    if value is None:
        return "unknown"
    number = Decimal(value)
    if metric in {"error_rate", "unpriced_share"}:
        return f"{plain(round(number * 100, 2))} %"
    if metric == "quota_percent":
        return f"{plain(number)} %"
    if metric.startswith("cost"):
        return f"${plain(round(number, _PLACES) if abs(number) >= _LEAST_ROUNDED else number)}"
    if metric in {"avg_tokens", "dead_letters"}:
        return plain(round(number, 1))
    if metric == "upstream_down":
        return "down" if number else "up"
    return f"{plain(round(number, 3))} s"


def counted(calls: int) -> str:
    """Write a number of calls."""
    return "1 call" if calls == 1 else f"{calls:,} calls"


def plain(number: Decimal) -> str:
    """Write a number without an exponent, and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def local(at: datetime, zone: ZoneInfo) -> str:
    """Write a time in *zone*, to the second."""
    return at.astimezone(zone).isoformat(timespec="seconds")


def group_words(group: Mapping[str, str]) -> str:
    """Write which of a rule's alerts it is."""
    return ", ".join(f"{name} {_printable(value) or '(none)'}" for name, value in group.items())


def _title(kind: str, told: Mapping[str, Any]) -> str:
    of = f" ({group_words(told['group'])})" if told["group"] else ""
    return f"[{_WORDS[kind]}] {told['rule']}{of}"


def _lines(kind: str, told: Mapping[str, Any]) -> Iterator[str]:
    metric = told["metric"]
    figure = f"{_NAMES.get(metric, metric)}: {shown(metric, told['value'])}"
    yield figure if metric == "upstream_down" else f"{figure}, limit {shown(metric, told['above'])}"
    if told["window_seconds"]:
        calls = "" if told["requests"] is None else f", {counted(told['requests'])}"
        yield f"in the last {span(told['window_seconds'])}{calls}"
    if told["where"]:
        yield "of " + "; ".join(
            f"{name} {', '.join(map(_printable, values))}" for name, values in told["where"].items()
        )
    if kind == "test":
        yield "This is a test: nothing has happened."
        return
    yield f"{told['state']} since {told['since']}, severity {told['severity']}"
    if kind != "resolved":
        yield f"llm-one-api alerts silence {told['rule']} --for 2h"


def span(seconds: float) -> str:
    """Write a length of time in the largest unit that has no rest."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:g} {unit}"
    return f"{seconds:g} s"


def _printable(text: str) -> str:
    """Keep a name on its line."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
