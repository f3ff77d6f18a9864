"""`LLM_ONE_API__SECTION__NAME=value`: the environment's word on a setting, over the file's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from llm_one_api.errors import Fault
from llm_one_api.settings.reading import Document, Keys, Origin, Reader, UnreadableError, compose, dotted

PREFIX = "LLM_ONE_API__"
DEMO = "LLM_ONE_API_DEMO__"
"""What `llm-one-api up` offers, by section, while the config has no models of its own."""


def override(document: Document, environ: Mapping[str, str]) -> None:
    """Put every `LLM_ONE_API__…` variable into *document*; a whole section comes before a part of it."""
    names = [name for name in environ if name.startswith(PREFIX)]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        _put(document, name, name.removeprefix(PREFIX), environ[name])
    if not document.data.get("models"):
        for name in sorted(name for name in environ if name.startswith(DEMO)):
            section = name.removeprefix(DEMO)
            if not document.data.get(section.lower()):
                _put(document, name, section, environ[name])


class _AstrayError(Exception):
    """A variable's name leads nowhere."""

    def __init__(self, path: Keys, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def _put(document: Document, name: str, place: str, text: str) -> None:
    try:
        _lead(document, name, place, text)
    except _AstrayError as astray:
        document.faults.append(Fault(dotted(astray.path), astray.message, variable=name))


def _lead(document: Document, name: str, place: str, text: str) -> None:
    steps = place.split("__")
    if not all(steps):
        raise _AstrayError(("environment",), f"a part of the name is empty; write {PREFIX}SECTION__NAME")
    path: Keys = ()
    inside: Any = document.data
    while True:
        if isinstance(inside, list):
            key: Any = _place(inside, steps[0], path)
            taken = 1
        else:
            key, taken = _name(inside, steps, path)
        path, steps = (*path, str(key)), steps[taken:]
        if not steps:
            break
        below = inside[key] if isinstance(inside, list) else inside.get(key)
        if below is None:
            below = inside[key] = {}
            document.origins[path] = Origin(variable=name)
        if not isinstance(below, (dict, list)):
            raise _AstrayError(path, f"holds a single value, so there is no {steps[0].lower()!r} in it")
        inside = below
    document.forget(path)
    try:
        inside[key] = _value(document, name, text, path)
    except UnreadableError as error:
        inside[key] = None
        document.unread.add(path)
        raise _AstrayError(path, error.message) from None


def _place(items: list[Any], step: str, path: Keys) -> int:
    if not step.isdecimal() or not step.isascii() or int(step[:9]) >= len(items):
        raise _AstrayError(
            path, f"is a list of {len(items)}: its entries are 0 to {len(items) - 1}, there is no {step!r}"
        )
    return int(step)


def _name(inside: dict[str, Any], steps: list[str], path: Keys) -> tuple[str, int]:
    """Find the name that *steps* begin with, and how many of them it takes; a new one is written in small letters."""
    for taken in range(len(steps), 0, -1):
        wanted = _plain("__".join(steps[:taken]))
        same = [name for name in inside if _plain(name) == wanted]
        if len(same) > 1:
            raise _AstrayError(path, f"could mean each of {', '.join(map(repr, same))}: change the file instead")
        if same:
            return same[0], taken
    return steps[0].lower(), 1


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _value(document: Document, variable: str, text: str, path: Keys) -> Any:
    """Read a variable's value: flow YAML if it begins like it, else a scalar exactly as it stands."""
    document.origins[path] = Origin(variable=variable, hidden=True)
    node = compose(text) if text.lstrip().startswith(("{", "[", '"', "'")) else None
    if node is None:
        tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        mark = yaml.Mark(variable, 0, 0, 0, None, 0)
        node = yaml.ScalarNode(tag, text, mark, mark)
    return Reader(document, {}, variable).value(node, path)
