"""Reads a caller's request field by field, each under the path that names it: what is wrong is told with it.

A member that is null says nothing, as with OpenAI. Translators take the members they know out of an object, and what
is left over in the end is refused: nothing is lost without a word.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

LONGEST_NAME = 100
"""Of a member's name, which anybody may have made up: characters that are repeated to the caller."""


class Untranslatable(Exception):
    """A request has something in it that the upstream's dialect cannot say, or that is malformed."""

    def __init__(self, message: str, param: str) -> None:
        """Say in *message* what a developer is to change; *param* is the field's path."""
        super().__init__(message)
        self.message = message
        self.param = param


def unsayable(path: str, advice: str = "leave it out") -> Untranslatable:
    """Say that the field at *path* has no counterpart, and what to do about it."""
    return Untranslatable(f"`{path}` cannot be said to an Anthropic upstream (adapter: anthropic); {advice}", path)


def malformed(path: str, wanted: str) -> Untranslatable:
    """Say what the field at *path* must be."""
    return Untranslatable(f"`{path}` must be {wanted}", path)


def inside(path: str, name: str) -> str:
    """Give the path of a member."""
    return f"{path}.{name[:LONGEST_NAME]}" if path else name[:LONGEST_NAME]


def members(value: Any, path: str) -> dict[str, Any]:
    """Read an object, without the members that are null."""
    if not isinstance(value, dict):
        raise malformed(path, "an object")
    return {name: member for name, member in value.items() if member is not None}


def nothing_left(rest: Collection[str], path: str) -> None:
    """Refuse the members of an object that no translator took out of it."""
    for name in rest:
        raise unsayable(inside(path, name))


def items(value: Any, path: str) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        raise malformed(path, "a list")
    return value


def text(value: Any, path: str) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise malformed(path, "a string")
    return value


def name(value: Any, path: str) -> str:
    """Read a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise malformed(path, "a string that is not empty")
    return value


def flag(value: Any, path: str) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise malformed(path, "true or false")
    return value


def whole(value: Any, path: str, *, least: int) -> int:
    """Read a whole number."""
    if type(value) is not int or value < least:
        raise malformed(path, f"a whole number of at least {least}")
    return value


def number(value: Any, path: str) -> float:
    """Read a number that is not negative."""
    if type(value) not in {int, float} or value < 0:
        raise malformed(path, "a number that is not negative")
    return value  # type: ignore[no-any-return]  # as it came: an int stays one


def plain_object(value: Any, path: str) -> dict[str, Any]:
    """Read an object that is passed on as it is, nulls and all."""
    if not isinstance(value, dict):
        raise malformed(path, "an object")
    return value
