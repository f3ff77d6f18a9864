"""Scopes, amounts and times of limits on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import click

from llm_one_api.limits.money import NANOS
from llm_one_api.limits.rules import Kind, LimitSet, Rules, Unit, scope
from llm_one_api.settings import Settings
from llm_one_api.values import fingerprint

KINDS: tuple[Kind, ...] = ("key", "user", "group", "model", "all")
_DEFAULTS = {"key": "each_key", "user": "each_user", "group": "each_group", "model": "each_model", "all": "everyone"}
_FINGERPRINT = re.compile(r"key_[0-9a-f]{8}")
_WHOLE = re.compile(r"[0-9]{1,15}")
_USD = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def split(text: str) -> tuple[Kind, str]:
    """Read whom a set of limits is for. Raises UsageError; what may be a key is not shown."""
    kind, _, name = text.partition(":")
    for known in KINDS:
        if kind == known and bool(name) == (known != "all"):
            if known == "key" and not _FINGERPRINT.fullmatch(name):
                raise click.UsageError(
                    "Keys are named by their fingerprints, such as key:key_3f9a1c22. If what you wrote is a key, "
                    f"its fingerprint is {fingerprint(name)}."
                )
            return known, name
    raise click.UsageError("SCOPE must be all, or key:, user:, group: or model: and a name, such as user:alice.")


def set_of(settings: Settings, rules: Rules, kind: Kind, name: str) -> tuple[str, LimitSet]:
    """Give the limits of a scope, with what it is called. Raises ClickException if it has none."""
    whose = scope(kind, name)
    if name in {"key": rules.exempt_keys, "user": rules.exempt_users}.get(kind, ()):
        raise click.ClickException(f"{whose} is not limited: limits.exempt names it")
    if kind == "model" and settings.plugins.model_route == ("default_router",) and name not in settings.models:
        models = ", ".join(sorted(settings.models)) or "none"
        raise click.ClickException(f"there is no model {name!r} in the config ({models})")
    found = rules.named.get(kind, {}).get(name) or rules.each.get(kind)
    if found is None or not (found.has_rates or found.has_quotas):
        own = "" if kind == "all" else f"limits.{kind}s.{name} nor "
        neither = "limits.everyone says none" if kind == "all" else f"neither {own}limits.{_DEFAULTS[kind]} says one"
        raise click.ClickException(f"{whose} has no limits: {neither}")
    return whose, found


def amount(text: str, unit: Unit) -> int:
    """Read an amount as it is counted: USD in 1e-9. Raises UsageError."""
    if unit == "cost":
        if _USD.fullmatch(text):
            return int(Decimal(text) * NANOS)
        raise click.UsageError("AMOUNT of a cost must be USD, such as 12.50, with at most 9 decimals.")
    if _WHOLE.fullmatch(text):
        return int(text)
    raise click.UsageError(f"AMOUNT of {unit} must be a whole number.")


def end(until: str | None, span: str | None, zone: ZoneInfo, now: datetime) -> datetime:
    """Read when something ends: at a time, or after one. Raises UsageError."""
    if (until is None) == (span is None):
        raise click.UsageError("Say until when: --until TIME, or --for SPAN.")
    if span is not None:
        found = _SPAN.fullmatch(span)
        if found is None or not int(found[1]):
            raise click.UsageError("--for must be a time such as 90s, 30m, 2h or 7d.")
        return now + timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    at = _time(until or "", zone)
    if at <= now:
        raise click.UsageError("--until must be in the future.")
    return at


def _time(text: str, zone: ZoneInfo) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if len(text) == len("2026-11-24"):  # to its end
            at = datetime.combine(at.date() + timedelta(days=1), time())
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(
            "--until must be a day such as 2026-11-24 (to its end), or a time such as 2026-11-24T18:00."
        ) from None
    return at
