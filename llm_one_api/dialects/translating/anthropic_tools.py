"""OpenAI's function tools, and which of them is to be used, as Anthropic's."""

from __future__ import annotations

from typing import Any

from llm_one_api.dialects.translating.fields import (
    flag,
    inside,
    items,
    malformed,
    members,
    name,
    nothing_left,
    plain_object,
    text,
    unsayable,
)

_FREE = frozenset({"auto", "none"})


def tools_and_choice(rest: dict[str, Any]) -> dict[str, Any]:
    """Translate what a request says of tools: the members `tools` and `tool_choice`, as far as there are any."""
    tools = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(items(rest.pop("tools", []), "tools"))]
    choice = _choice(rest.pop("tool_choice", "auto"))
    parallel = flag(rest.pop("parallel_tool_calls", True), "parallel_tool_calls")
    if not tools:
        if choice["type"] not in _FREE:
            raise malformed("tool_choice", "auto or none where there are no `tools`")
        return {}
    if not parallel and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools} if choice == {"type": "auto"} else {"tools": tools, "tool_choice": choice}


def _tool(value: Any, path: str) -> dict[str, Any]:
    rest = members(value, path)
    kind = text(rest.pop("type", None), inside(path, "type"))
    if kind != "function":
        raise unsayable(inside(path, kind), "only tools of type function can be")
    of = inside(path, "function")
    function = members(rest.pop("function", None), of)
    tool: dict[str, Any] = {"name": name(function.pop("name", None), inside(of, "name"))}
    description = text(function.pop("description", ""), inside(of, "description"))
    if description:
        tool["description"] = description
    # Without parameters a function takes none, and what it takes is an object always: Anthropic wants it said.
    tool["input_schema"] = {"type": "object", **plain_object(function.pop("parameters", {}), inside(of, "parameters"))}
    if flag(function.pop("strict", False), inside(of, "strict")):
        tool["strict"] = True
    if "cache_control" in rest:
        tool["cache_control"] = plain_object(rest.pop("cache_control"), inside(path, "cache_control"))
    nothing_left(function, of)
    nothing_left(rest, path)
    return tool


def _choice(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        if value not in _FREE and value != "required":
            raise malformed("tool_choice", "auto, none, required or an object that names a function")
        return {"type": "any" if value == "required" else value}
    rest = members(value, "tool_choice")
    kind = text(rest.pop("type", None), "tool_choice.type")
    if kind != "function":
        raise unsayable(inside("tool_choice", kind), "choose auto, none, required or one function")
    function = members(rest.pop("function", None), "tool_choice.function")
    choice = {"type": "tool", "name": name(function.pop("name", None), "tool_choice.function.name")}
    nothing_left(function, "tool_choice.function")
    nothing_left(rest, "tool_choice")
    return choice
