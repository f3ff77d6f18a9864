"""Compares what must be with what is, and words the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from llm_one_api.values import Usage, Value

LONGEST = 300
"""Characters of a value that a finding shows at most."""


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is not as it must be."""

    what: str
    expected: str
    found: str


class That:
    """What a value must be, where it is not one value alone."""

    def __init__(self, words: str, holds: Callable[[Any], bool]) -> None:
        """Say in *words* what *holds* checks."""
        self.words = words
        self._holds = holds

    def __call__(self, value: Any) -> bool:
        """Tell whether *value* is so; what cannot be compared is not."""
        try:
            return bool(self._holds(value))
        except (TypeError, ValueError, KeyError, IndexError):
            return False

    def __repr__(self) -> str:
        return self.words


SOMETHING = That("not null", lambda value: value is not None)
COUNTED = That(
    "input and output that are counted",
    lambda usage: (
        usage["prompt_tokens"] > 0
        and usage["completion_tokens"] > 0
        and usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    ),
)
"""A usage whose exact figures hang on the name of the exchange."""
ANYTHING = That("anything", lambda _: True)


def one_of(*values: Any) -> That:
    """Allow each of *values*."""
    return That(f"one of {values}", lambda value: value in values)


def between(least: float, most: float) -> That:
    """Ask for a number within bounds."""
    return That(f"from {least:g} to {most:g}", lambda value: least <= value <= most)


def at_least(least: float) -> That:
    """Ask for a number from *least* on."""
    return That(f"from {least:g}", lambda value: value >= least)


def containing(*words: str) -> That:
    """Ask for something whose text has each of *words* in it."""
    return That(f"with {' and '.join(words)} in it", lambda value: all(word in str(value) for word in words))


def about(number: float, share: float = 0.02) -> That:
    """Ask for a number that differs by *share* at most."""
    return That(f"about {number:g}", lambda value: abs(value - number) <= abs(number) * share)


def differences(expected: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare a record with what its fields must be. Of usage each figure counts: what is not told must be null."""
    for name, value in expected.items():
        found = record.get(name)
        if name == "usage" and not isinstance(value, That):
            told = msgspec.to_builtins(value if value is not None else Usage())
            for figure in told:
                yield from compare(f"record.usage.{figure}", told[figure], (found or {}).get(figure))
        else:
            yield from compare(f"record.{name}", value, found)


def compare(what: str, expected: Any, found: Any) -> Iterator[Finding]:
    """Give a finding if *found* is not as *expected*."""
    if expected(found) if isinstance(expected, That) else expected == found:
        return
    yield Finding(what=what, expected=shown(expected), found=shown(found))


def compare_bytes(what: str, expected: bytes, found: bytes) -> Iterator[Finding]:
    """Compare to the byte, and show where they part."""
    if expected == found:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    start = max(0, at - 20)
    yield Finding(
        what=f"{what} ({len(expected)} bytes expected, {len(found)} found, equal up to byte {at})",
        expected=shown(expected[start : start + 120]),
        found=shown(found[start : start + 120]),
    )


def shown(value: Any) -> str:
    """Show a value in a line; of a usage what is known of it."""
    if isinstance(value, dict) and "prompt_tokens" in value:
        value = {name: figure for name, figure in value.items() if figure is not None}
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
