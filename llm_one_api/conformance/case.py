"""What a case is, and where all of them are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_one_api.conformance.bench import Bench

Play = Callable[["Bench"], None]


class Unprovable(Exception):
    """The case cannot be judged here; the message says why."""


@dataclass(frozen=True)
class Case:
    """One thing that must hold."""

    name: str
    """Theme and what it is about, such as `usage/chat-whole`."""
    says: str
    """What must hold, in a sentence."""
    play: Play
    alone: bool = False
    """Whether it disturbs others, so that it runs after them, by itself."""


_CASES: dict[str, Case] = {}


def case(name: str, says: str = "", *, alone: bool = False) -> Callable[[Play], Play]:
    """Make a case of a function; without *says* its docstring says what must hold."""

    def keep(play: Play) -> Play:
        if name in _CASES:
            raise ValueError(f"there are two cases {name}")
        words = says or (play.__doc__ or "").strip()
        _CASES[name] = Case(name, words, play, alone)
        return play

    return keep


def all_cases(pattern: str = "*") -> list[Case]:
    """Give the cases whose name *pattern* fits (`usage/*`, or a part of the name), in the order of the files."""
    from llm_one_api.conformance import cases

    for module in iter_modules(cases.__path__):
        import_module(f"{cases.__name__}.{module.name}")
    found = sorted(_CASES.values(), key=lambda each: each.name.partition("/")[0])
    return [each for each in found if fnmatchcase(each.name, pattern) or pattern in each.name]
