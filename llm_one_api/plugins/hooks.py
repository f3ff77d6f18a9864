"""Looks at a plugin's class, before anything is constructed, for what would only be noticed with the first call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import BaseModel

from llm_one_api.plugins.interfaces import ExactStatsPlugin, Plugin, StatsPlugin

_NEAR = 0.88
"""How alike a method's name and a hook's must be for a slip of the fingers."""


class Hook(NamedTuple):
    """A method that is called by us."""

    arguments: tuple[str, ...]
    may_be_async: bool
    may_be_generator: bool


def hooks(base: type[Plugin]) -> dict[str, Hook]:
    """Read from the contract itself what is called on a plugin of *base*."""
    found = {}
    for cls in base.__mro__:
        for name, function in vars(cls).items():
            if inspect.isfunction(function) and not name.startswith("_") and name not in found:
                returns = str(function.__annotations__.get("return"))
                arguments = tuple(inspect.signature(function).parameters)[1:]
                found[name] = Hook(arguments, "Awaitable" in returns, "Iterable" in returns)
    if base is ExactStatsPlugin:
        # It is given batches instead.
        del found["record_request"], found["record_response"], found["record_responses"]
    return found


def faults(cls: Any, base: type[Plugin]) -> Iterator[str]:
    """Tell what keeps *cls* from being a plugin of *base*."""
    if not isinstance(cls, type) or not issubclass(cls, base):
        shown = cls.__name__ if isinstance(cls, type) else type(cls).__name__
        yield f"{shown} must be a subclass of llm_one_api.plugins.interfaces.{base.__name__}"
        return
    if issubclass(cls, ExactStatsPlugin):
        base = ExactStatsPlugin
    if not _takes(cls, 1):
        yield f"{cls.__name__}.__init__ must take one argument, the config"
    wanted = hooks(base)
    for name, hook in wanted.items():
        yield from (f"{cls.__name__}.{name} {fault}" for fault in _hook_faults(cls, base, name, hook))
    for name in vars(cls):
        near = get_close_matches(name, wanted, 1, _NEAR)
        if name in wanted or not near or not callable(getattr(cls, name)):
            continue
        if getattr(cls, near[0]) is getattr(base, near[0]):
            yield f"{cls.__name__}.{name} is never called; did you mean {near[0]}?"
    if cls.config_model is not None and not (
        isinstance(cls.config_model, type) and issubclass(cls.config_model, BaseModel)
    ):
        yield f"{cls.__name__}.config_model must be a pydantic model, or None"


def _hook_faults(cls: type[Plugin], base: type[Plugin], name: str, hook: Hook) -> Iterator[str]:
    method = getattr(cls, name)
    signature = f"{name}({', '.join(('self', *hook.arguments))})"
    if getattr(method, "__isabstractmethod__", False) or (
        base is StatsPlugin and method is StatsPlugin.record_response
    ):
        yield f"is missing: define {signature}"
        return
    if not callable(method):
        yield f"must be a method: {signature}"
        return
    has_self = inspect.isfunction(inspect.getattr_static(cls, name))
    if not _takes(method, len(hook.arguments) + has_self):
        yield f"must take {_arguments(hook)}: {signature}"
    if not hook.may_be_async and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
        yield "must not be async: nothing waits for it"
    elif inspect.isasyncgenfunction(method) or (inspect.isgeneratorfunction(method) and not hook.may_be_generator):
        yield "has a yield in it, so that calling it does nothing"


def _arguments(hook: Hook) -> str:
    return f"one argument ({hook.arguments[0]})" if len(hook.arguments) == 1 else f"{len(hook.arguments)} arguments"


def _takes(function: Any, count: int) -> bool:
    """Tell whether *function* can be called with *count* arguments, as far as that can be seen."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature
    return True
