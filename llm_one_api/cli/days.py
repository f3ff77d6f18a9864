"""Days on the command line."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import click

_DAY = re.compile(r"(19[7-9]|2\d\d)\d-\d\d-\d\d", re.ASCII)


def day(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    """Read a day such as 2026-11-24: the `callback` of an option."""
    try:
        if value is None or _DAY.fullmatch(value):
            return None if value is None else date.fromisoformat(value)
    except ValueError:
        pass
    raise click.BadParameter(f"{value!r} is no day such as 2026-11-24")


def start(of: date, zone: ZoneInfo) -> datetime:
    """Tell when that day begins in *zone*."""
    return datetime(of.year, of.month, of.day, tzinfo=zone).astimezone(UTC)
