"""What the tools of a request weigh: OpenAI's published constants, and nested schemas counted in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

Piece = str | int
"""A text whose tokens count, or a number of tokens."""


class Framing(NamedTuple):
    """The tokens that a model's framing takes and that differ from one generation of models to the next."""

    per_tool: int


OLDER, NEWER = Framing(per_tool=10), Framing(per_tool=7)
"""GPT-3.5 and GPT-4; GPT-4o and what came after it."""

_ALL_TOOLS = 12
_PROPERTIES, _PROPERTY = 3, 3
_ENUM, _ENUM_ITEM = -3, 3
_VARIANTS = ("anyOf", "oneOf", "allOf")
_DEFINITIONS = ("$defs", "definitions")


class _Function(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    """Anthropic's name for it."""


class _Tool(_Function):
    function: _Function | None = None
    custom: _Function | None = None


def tools_of(tools: Iterable[msgspec.Raw], framing: Framing) -> Iterator[Piece]:
    """Give the pieces of a request's tools. One without a name is the provider's own, and not counted."""
    counted = False
    for raw in tools:
        tool = msgspec.json.decode(raw, type=_Tool)
        function = tool.function or tool.custom or tool
        if function.name is None:
            continue
        counted = True
        yield framing.per_tool
        yield f"{function.name}:{_description(function.description)}"
        yield from _inside(function.parameters or function.input_schema or {})
    if counted:
        yield _ALL_TOOLS


def _inside(schema: Mapping[str, Any]) -> Iterator[Piece]:
    """Count what stands inside of a schema: its enum, its properties, and the schemas nested in it."""
    options = schema.get("enum")
    if isinstance(options, list):
        yield _ENUM
        for option in options:
            yield _ENUM_ITEM
            yield option if isinstance(option, str) else msgspec.json.encode(option).decode()
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties:
        yield _PROPERTIES
        for name, value in properties.items():
            described = value if isinstance(value, dict) else {}
            yield _PROPERTY
            yield f"{name}:{_type(described.get('type'))}:{_description(described.get('description'))}"
            yield from _inside(described)
    for nested in _nested(schema):
        yield from _inside(nested)


def _nested(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the schemas that stand in this one without a name that the model sees."""
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield schema[name]
    for name in _VARIANTS:
        if isinstance(schema.get(name), list):
            yield from (variant for variant in schema[name] if isinstance(variant, dict))
    for name in _DEFINITIONS:
        if isinstance(schema.get(name), dict):
            yield from (value for value in schema[name].values() if isinstance(value, dict))


def _type(told: Any) -> str:
    if isinstance(told, list):
        return "|".join(each for each in told if isinstance(each, str))
    return told if isinstance(told, str) else ""


def _description(told: Any) -> str:
    return told.removesuffix(".") if isinstance(told, str) else ""
