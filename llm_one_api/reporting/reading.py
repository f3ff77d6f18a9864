"""Reads parameters, which come as texts, and collects all that is wrong with them before it says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from llm_one_api.reporting.parameters import CURSOR, TIME, Parameter
from llm_one_api.stores.ledger.analysis.latest import Cursor
from llm_one_api.values import Value

T = TypeVar("T", bound=str)

Texts = Mapping[str, Sequence[str]]
"""What was given: all values of each name."""

_TIME, _CURSOR = (re.compile(pattern, re.ASCII) for pattern in (TIME, CURSOR))
_LOST_PLUS = re.compile(r"(T.*) (?=\d\d:?\d\d$)", re.ASCII)
"""Where a plus stood that was not escaped in a URL."""
_DAY = len("2026-11-24")
_SHOWN = 60
_FIRST, _LAST = 1970, 9998
"""Years: so that no zone takes a time out of what a datetime can be."""
_LONGEST_NUMBER = 9
_MICRO = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fault(Value, frozen=True, kw_only=True):
    """One thing wrong with what was asked."""

    param: str
    message: str


class NotUnderstood(Exception):
    """What was asked cannot be answered; carries all faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Keep *faults*, of which there is one at least."""
        self.faults = tuple(faults)
        super().__init__(" ".join(dict.fromkeys([fault.message for fault in faults])))


class Reader:
    """Reads one question. What is wrong with it is told at the end, by `check`."""

    def __init__(self, given: Texts, parameters: Sequence[Parameter]) -> None:
        """Look for what is none of *parameters*, and what is given too often."""
        self._given = given
        self.faults: list[Fault] = []
        known = {parameter.name: parameter for parameter in parameters}
        for name, values in given.items():
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are {_listed(list(known))}."
                self.wrong(name, f"`{shown(name)}` is no parameter here; {hint}")
            elif len(values) > 1 and not known[name].has_many:
                self.wrong(name, f"`{name}` is given {len(values)} times.")

    def wrong(self, param: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(param=param, message=message))

    def check(self) -> None:
        """Raise NotUnderstood if there were faults."""
        if self.faults:
            raise NotUnderstood(self.faults)

    def text(self, name: str) -> str | None:
        """Give a value; None: none is given."""
        values = self._given.get(name)
        return values[0] if values else None

    def zone(self, name: str, default: ZoneInfo) -> ZoneInfo:
        """Read the name of a time zone."""
        text = self.text(name)
        if text is None:
            return default
        try:
            return ZoneInfo(text)
        except (OSError, ValueError, LookupError):  # a folder of zones is an OSError
            self.wrong(name, f"`{name}` must be a time zone such as UTC or Asia/Shanghai, not {shown(text)!r}.")
            return default

    def choice(self, name: str, choices: Sequence[T]) -> T | None:
        """Read one of *choices*."""
        text = self.text(name)
        for choice in choices:
            if choice == text:
                return choice
        if text is not None:
            self.wrong(name, f"`{name}` must be {_listed(choices, 'or')}, not {shown(text)!r}.")
        return None

    def choices(self, name: str, choices: Sequence[T]) -> tuple[T, ...]:
        """Read several of *choices*, joined by commas; each counts once."""
        found: dict[T, None] = {}
        for text in (self.text(name) or "").split(","):
            chosen = next((choice for choice in choices if choice == text.strip()), None)
            if chosen is not None:
                found[chosen] = None
            elif self.text(name) is not None:
                self.wrong(name, f"`{name}` takes {_listed(choices)}, not {shown(text)!r}.")
        return tuple(found)

    def names(self, name: str, choices: Sequence[str] | None = None, *, empty: bool = False) -> tuple[str, ...] | None:
        """Read the values of a filter; None: it is not given. *empty*: an empty one means something."""
        values = self._given.get(name)
        if not values:
            return None
        for value in values:
            if not value and not empty:
                self.wrong(name, f"`{name}` is empty.")
            elif not is_text(value):
                self.wrong(name, f"`{name}` must be text in UTF-8, not {shown(value)!r}.")
            elif value and choices is not None and value not in choices:
                self.wrong(name, f"`{name}` must be {_listed(choices, 'or')}, not {shown(value)!r}.")
        return tuple(dict.fromkeys(values))

    def number(self, name: str, default: int, most: int) -> int:
        """Read a whole number from 1 to *most*."""
        text = self.text(name)
        if text is None:
            return default
        if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and 1 <= int(text) <= most:
            return int(text)
        self.wrong(name, f"`{name}` must be a whole number from 1 to {most}, not {shown(text)!r}.")
        return default

    def time(self, name: str, zone: ZoneInfo, *, end: bool = False) -> datetime | None:
        """Read a time or a day, which means its begin, or with *end* its end; without an offset it is in *zone*."""
        text = self.text(name)
        if text is None:
            return None
        clean = _LOST_PLUS.sub(r"\1+", text)
        at = _time(clean, zone, end=end) if _TIME.fullmatch(clean) else None
        if at is None:
            self.wrong(
                name, f"`{name}` must be a day or a time such as 2026-11-24T08:00:00+08:00, not {shown(text)!r}."
            )
        return at

    def cursor(self, name: str) -> Cursor | None:
        """Read a place between calls."""
        text = self.text(name)
        if text is None:
            return None
        if _CURSOR.fullmatch(text):
            micros, _, seq = text.partition("-")
            return Cursor(_EPOCH + int(micros) * _MICRO, int(seq))
        self.wrong(name, f"`{name}` must be what an answer gave as `next`, not {shown(text)!r}.")
        return None


def _time(text: str, zone: ZoneInfo, *, end: bool) -> datetime | None:
    if not _FIRST <= int(text[:4]) <= _LAST:
        return None
    try:
        if len(text) == _DAY:
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def cursor_text(cursor: Cursor) -> str:
    """Write a place between calls."""
    return f"{(cursor.at - _EPOCH) // _MICRO}-{cursor.seq}"


def is_text(text: str) -> bool:
    """Tell whether it can be written: half a surrogate pair, which a byte that is no UTF-8 becomes, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: Any) -> str:
    """Give a value as it is repeated in an error: on one line, and not too long."""
    clean = "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)])
    return clean if len(clean) <= _SHOWN else f"{clean[: _SHOWN - 1]}…"


def _listed(words: Sequence[str], last: str = "and") -> str:
    if len(words) == 1:
        return str(words[0])
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
