"""The tools of OpenAI clients, as Anthropic has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.dialects.translating.asking import refused, translated

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "default": None}}, "required": ["city"]}


def tool(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **members}}


def test_a_function_is_a_tool() -> None:
    told = translated(tools=[tool("weather", description="Tells it", parameters=SCHEMA, strict=True)])

    assert told["tools"] == [{"name": "weather", "description": "Tells it", "input_schema": SCHEMA, "strict": True}]
    assert "tool_choice" not in told


@pytest.mark.parametrize("parameters", [{}, {"parameters": {}}, {"parameters": None, "strict": False}])
def test_a_function_without_parameters_takes_an_object_all_the_same(parameters: dict[str, Any]) -> None:
    assert translated(tools=[tool(**parameters)])["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]


def test_where_a_cache_ends_may_be_said_as_anthropic_does() -> None:
    told = translated(tools=[{**tool(), "cache_control": {"type": "ephemeral"}}])

    assert told["tools"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": None, "parallel_tool_calls": True}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_which_tools_are_to_be_used_is_said_in_anthropics_words(given: dict[str, Any], choice: Any) -> None:
    assert translated(tools=[tool()], **given).get("tool_choice") == choice


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": [tool(), {"type": "custom", "custom": {"name": "c"}}]}, "tools[1].custom"),
        ({"tools": [{**tool(), "extra": 1}]}, "tools[0].extra"),
        ({"tools": [tool(extra=1)]}, "tools[0].function.extra"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool(parameters="{}")]}, "tools[0].function.parameters"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "f"}, "x": 1}}, "tool_choice.x"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "f", "x": 1}}},
            "tool_choice.function.x",
        ),
        ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_other_tools_are_refused_by_their_path(given: dict[str, Any], param: str) -> None:
    assert refused(**given).param == param
