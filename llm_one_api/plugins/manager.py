"""Finds plugins by their entry points, and says at start what is wrong with them.

    check(kind, names, sections) -> faults      looks at classes and sections; constructs nothing
    find(kind, name) -> class                   raises ConfigError
    auth_plugins(...), model_routes(...)        the gateway's, constructed and initialized

Stats plugins are constructed in the worker that uses them: `llm_one_api.plugins.running`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import sys
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.plugins.hooks import faults
from llm_one_api.plugins.interfaces import (
    AuthPlugin,
    LoadBalanceStrategy,
    ModelRoutePlugin,
    Plugin,
    PluginConfig,
    PluginContext,
    StatsPlugin,
)
from llm_one_api.plugins.scrub import scrub

KINDS: Mapping[str, type[Plugin]] = {
    "stats": StatsPlugin,
    "auth": AuthPlugin,
    "model_route": ModelRoutePlugin,
    "load_balance": LoadBalanceStrategy,
}
"""Kind → its base class. Its entry points are in the group `llm_one_api.<kind>`."""

_SAID = {
    "missing": "must be given",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    **dict.fromkeys(["int_type", "int_parsing", "int_from_float", "int_parsing_size"], "must be a whole number"),
    **dict.fromkeys(["float_type", "float_parsing", "decimal_type", "decimal_parsing"], "must be a number"),
    **dict.fromkeys(["list_type", "tuple_type", "set_type", "frozen_set_type"], "must be a list"),
    **dict.fromkeys(
        ["dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"],
        "must be a section (lines of name: value below it)",
    ),
}
"""What pydantic says in words of Python's, in words of the config file's."""

_TAKEN = {"ledger"}
"""Names that a stats plugin cannot have: `llm-one-api deadletter` lists under it what the ledger itself refused."""

_CHECKED: dict[tuple[str, ...], type[Plugin]] = {}
"""Kind, name and what its entry point says → its class, which can be one."""

Sections = Mapping[str, Mapping[str, Any]]
P = TypeVar("P", bound=Plugin)


def names(kind: str) -> list[str]:
    """Name the plugins that are installed."""
    return sorted(_installed(kind))


def look_again() -> None:
    """Forget what is installed: something may have been since."""
    _on_path.cache_clear()
    importlib.invalidate_caches()


def find(kind: str, name: str) -> type[Plugin]:
    """Give the class of a plugin; raise ConfigError if there is none or it cannot be one."""
    cls, wrong = _look(kind, name)
    if cls is None:
        raise ConfigError([Fault(f"plugins.{kind}", message) for message in wrong], "plugins")
    return cls


def check(kind: str, on: Sequence[str], sections: Sections) -> list[Fault]:
    """Tell everything wrong with the plugins *on* and with *sections*, without constructing any."""
    found = []
    for name in sections:
        if name not in on and name not in names(kind):
            found.append(Fault(f"{kind}.{name}", _nobody(kind, name)))
    for number, name in enumerate(on):
        if name in on[:number]:
            continue  # that it is on twice is told by the settings
        cls, wrong = _look(kind, name)
        found += [Fault(f"plugins.{kind}.{number}", message) for message in wrong]
        if cls is not None:
            found += _section_faults(cls, f"{kind}.{name}", sections.get(name))
    return found


def auth_plugins(
    on: Sequence[str], sections: Sections, context: PluginContext, *, checked: bool = False
) -> tuple[AuthPlugin, ...]:
    """Construct and initialize the auth plugins, in order; raise ConfigError with all that is wrong.

    *checked*: `check` has found nothing in them.
    """
    return _make("auth", AuthPlugin, on, sections, context, checked=checked)  # type: ignore[type-abstract]


def model_routes(
    on: Sequence[str], sections: Sections, context: PluginContext, *, checked: bool = False
) -> tuple[ModelRoutePlugin, ...]:
    """Construct and initialize the model_route plugins, in order; raise ConfigError with all that is wrong.

    *checked*: `check` has found nothing in them.
    """
    return _make("model_route", ModelRoutePlugin, on, sections, context, checked=checked)  # type: ignore[type-abstract]


def strategy(name: str, context: PluginContext) -> LoadBalanceStrategy:
    """Construct and initialize a strategy; raise ConfigError if there is none of that name or it cannot start."""
    (made,) = _make("load_balance", LoadBalanceStrategy, [name], {}, context)  # type: ignore[type-abstract]
    return made


def _make(
    kind: str,
    base: type[P],
    on: Sequence[str],
    sections: Sections,
    context: PluginContext,
    *,
    checked: bool = False,
) -> tuple[P, ...]:
    found = [] if checked else check(kind, on, sections)
    made = []
    for number, name in enumerate(on if not found else ()):
        section = sections.get(name) or {}
        try:
            plugin = find(kind, name)(PluginConfig(section, context))
            started = plugin.initialize()
            if inspect.isawaitable(started):
                asyncio.run(_finish(started))
        except (Exception, SystemExit) as error:
            text = scrub(error, section, context)
            found.append(Fault(f"plugins.{kind}.{number}", f"plugin {name!r} cannot start: {text}"))
        else:
            if isinstance(plugin, base):
                made.append(plugin)
    if found:
        for plugin in made:
            with suppress(Exception):  # it is told already what is wrong
                clean_up(plugin)
        raise ConfigError(found, "plugins")
    return tuple(made)


def clean_up(plugin: Plugin) -> None:
    """Have a plugin close what it has opened. Raises what it raises."""
    closing = plugin.cleanup()
    if inspect.isawaitable(closing):
        asyncio.run(_finish(closing))


async def _finish(hook: Awaitable[None]) -> None:
    await hook


def _look(kind: str, name: str) -> tuple[type[Plugin] | None, list[str]]:
    """Load the class *name*: the class, or what is wrong."""
    entries = _installed(kind).get(name)
    if entries is not None and (known := _CHECKED.get((kind, name, *entries))) is not None:
        return known, []
    if not entries:
        return None, [_nobody(kind, name)]
    if kind == "stats" and name in _TAKEN:
        return None, [f"no stats plugin can be called {name!r}; its package must call it otherwise"]
    if len(entries) > 1:
        return None, [f"there are several {kind} plugins {name!r}: {', '.join(sorted(entries))}; uninstall all but one"]
    (entry,) = entries.values()
    try:
        cls = entry.load()
    except (Exception, SystemExit) as error:
        return None, [f"plugin {name!r} cannot be imported from {entry.value}: {type(error).__name__}: {error}"]
    wrong = [f"plugin {name!r}: {fault}" for fault in faults(cls, KINDS[kind])]
    if not wrong:
        _CHECKED[kind, name, entry.value] = cls
    return (None if wrong else cls), wrong


def _installed(kind: str) -> Mapping[str, Mapping[str, EntryPoint]]:
    """Give the entry points by name, and by what they name."""
    return _on_path(kind, tuple(sys.path))


@lru_cache(maxsize=64)
def _on_path(kind: str, path: tuple[str, ...]) -> Mapping[str, Mapping[str, EntryPoint]]:  # noqa: ARG001 (what is found there)
    """Look it up once: to read what all packages say of themselves takes 10 ms."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=f"llm_one_api.{kind}"):
        # The same distribution may be found twice (installed, and in the current folder); it is no conflict.
        found.setdefault(entry.name, {})[entry.value] = entry
    return found


def _nobody(kind: str, name: str) -> str:
    near = get_close_matches(name, names(kind), 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no {kind} plugin {name!r}; {meant}installed: {', '.join(names(kind)) or 'none'}"


def _section_faults(cls: type[Plugin], path: str, section: Any) -> list[Fault]:
    if cls.config_model is None:
        return []
    if section is not None and not isinstance(section, Mapping):
        return [Fault(path, "must be a section (lines of name: value below it)")]
    try:
        cls.config_model.model_validate(dict(section or {}))
    except ValidationError as error:
        # Only where, what was expected, and names: an input might be a secret.
        return [
            Fault(".".join([path, *map(str, detail["loc"])]), _words(detail, cls))
            for detail in error.errors(include_url=False)
        ]
    except Exception as error:
        return [Fault(path, f"cannot be checked: {scrub(error, section or {}, None)}")]
    return []


def _words(detail: ErrorDetails, cls: type[Plugin]) -> str:
    """Put pydantic's finding as the rest of the settings does; what was written is not repeated."""
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = list(cls.config_model.model_fields) if cls.config_model and len(detail["loc"]) == 1 else []
        near = get_close_matches(str(detail["loc"][-1]), known, 1)
        return "unknown setting" + (
            f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}" * bool(known)
        )
    if kind == "string_type" and not isinstance(detail["input"], list | dict | None):
        return "must be a text: put it in quotes"
    said = detail["msg"].removeprefix("Value error, ")
    return _SAID.get(kind) or re.sub(r"^\w+ should ", "must ", said)
