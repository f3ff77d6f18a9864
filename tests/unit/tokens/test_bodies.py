"""How many tokens a request is: OpenAI's published formula, and what is sensible beyond it."""

# ruff: noqa: RUF001 (texts as people write them)

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken import Encoding

from llm_one_api.tokens.bodies import KINDS
from llm_one_api.tokens.count import input_tokens
from llm_one_api.tokens.encodings import Name, load
from tests.unit.tokens.conftest import NAMES
from tests.unit.tokens.texts import TEXTS

JARGON = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain "
        "English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased "
        "leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
ABOUT_WEATHER = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool(
    "get_current_weather",
    "Get the current weather in a given location",
    location={"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
    unit={
        "type": "string",
        "description": "The unit of temperature to return",
        "enum": ["celsius", "fahrenheit"],
    },
)
SEARCH = tool(
    "搜索",
    "在知识库中搜索。Ends with a dot.",
    query={"type": "string", "description": "关键词 🔍."},
    top_k={"type": "integer", "description": "How many results, 1 to 20."},
)
NO_ARGUMENTS = tool("now", "Tell the time.")


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


CHATS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "the cookbook's": (JARGON, []),
    "the cookbook's with a tool": (ABOUT_WEATHER, [WEATHER]),
    "two tools": (ABOUT_WEATHER, [WEATHER, SEARCH]),
    "three tools": (user("几点了？"), [NO_ARGUMENTS, SEARCH, WEATHER]),
    "a tool without arguments": (user("What time is it?"), [NO_ARGUMENTS]),
    "no message": ([], []),
    "an empty message": (user(""), []),
    "Chinese": ([{"role": "system", "content": "你是一个有帮助的助手。"}, *user("请介绍一下杭州的西湖。")], []),
    "a name in Chinese": ([{"role": "user", "name": "小明", "content": "你好"}], []),
    "emoji": ([*user("👍🏽 or 👎?"), {"role": "assistant", "content": "👍🎉"}, *user("🙏")], []),
    "code": (user(f"Review this:\n```python\n{TEXTS['this file']}\n```"), [SEARCH]),
    "JSON": (user(TEXTS["JSON"]), []),
    "special tokens": (user(TEXTS["special tokens"]), []),
    "long": (user(TEXTS["long English"]) * 5, []),
    "long Chinese": (user(TEXTS["long Chinese"]) * 3, [WEATHER]),
    "a tool's answer": (
        [*ABOUT_WEATHER, {"role": "tool", "tool_call_id": "call_abc123", "content": '{"temperature": 21}'}],
        [WEATHER],
    ),
}


def tokens(encoding: Encoding, text: str) -> int:
    return len(encoding.encode(text, disallowed_special=()))


def cookbook(encoding: Encoding, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    """Say what `num_tokens_for_tools` of OpenAI's cookbook says."""
    func_init = 10 if encoding.name == "cl100k_base" else 7
    prop_init, prop_key, enum_init, enum_item, func_end = 3, 3, -3, 3, 12
    total = 3
    for message in messages:
        total += 3
        for key, value in message.items():
            total += tokens(encoding, value)
            total += 1 if key == "name" else 0
    for each in tools:
        function = each["function"]
        total += func_init + tokens(encoding, function["name"] + ":" + function["description"].removesuffix("."))
        properties = function["parameters"]["properties"]
        total += prop_init if properties else 0
        for name, value in properties.items():
            total += prop_key
            if "enum" in value:
                total += enum_init
                for item in value["enum"]:
                    total += enum_item + tokens(encoding, item)
            total += tokens(encoding, f"{name}:{value['type']}:{value['description'].removesuffix('.')}")
    return total + (func_end if tools else 0)


def counted(kind: str, body: Any, name: Name = "o200k_base") -> int | None:
    return input_tokens(kind, body if isinstance(body, bytes) else json.dumps(body).encode(), load(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [json.dumps, lambda body: json.dumps(body, ensure_ascii=False, indent=1)])
@pytest.mark.parametrize(("messages", "tools"), CHATS.values(), ids=CHATS)
def test_a_chat_has_as_many_tokens_as_the_published_formula_says(
    official: Mapping[Name, Encoding],
    name: Name,
    write: Callable[[Any], str],
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
) -> None:
    body = {"model": "gpt-4o", "messages": messages, **({"tools": tools} if tools else {})}

    assert counted("chat", write(body).encode(), name) == cookbook(official[name], messages, tools)


@pytest.mark.parametrize(
    ("name", "messages", "tools", "expected"),
    [
        ("cl100k_base", JARGON, [], 129),
        ("o200k_base", JARGON, [], 124),
        ("cl100k_base", ABOUT_WEATHER, [WEATHER], 105),
        ("o200k_base", ABOUT_WEATHER, [WEATHER], 101),
    ],
)
def test_the_figures_are_those_that_openai_has_published_from_its_api(
    name: Name, messages: list[Any], tools: list[Any], expected: int
) -> None:
    assert counted("chat", {"messages": messages, "tools": tools}, name) == expected


def test_the_text_of_parts_counts_and_images_and_sounds_do_not() -> None:
    parts = [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}},
        {"type": "input_audio", "input_audio": {"data": "B" * 5000, "format": "wav"}},
    ]

    assert counted("chat", {"messages": [{"role": "user", "content": parts}]}) == counted(
        "chat", {"messages": user("What is in this image?")}
    )


def test_names_and_arguments_of_tool_calls_count() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"北京"}'}}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    asks_as_before = {"role": "assistant", "content": None, "function_call": call["function"]}
    expected = 3 + 3 + sum(tokens(load("o200k_base"), t) for t in ("assistant", "get_weather", '{"city":"北京"}'))

    assert counted("chat", {"messages": [asks]}) == expected
    assert counted("chat", {"messages": [asks_as_before]}) == expected


def test_functions_count_as_tools_do() -> None:
    functions = [WEATHER["function"], NO_ARGUMENTS["function"]]

    assert counted("chat", {"messages": ABOUT_WEATHER, "functions": functions}) == counted(
        "chat", {"messages": ABOUT_WEATHER, "tools": [WEATHER, NO_ARGUMENTS]}
    )


@pytest.mark.parametrize(
    "place",
    [
        lambda inner: {"type": "object", "description": "x", "properties": inner},
        lambda inner: {"type": "array", "description": "x", "items": {"type": "object", "properties": inner}},
        lambda inner: {"anyOf": [{"type": "object", "properties": inner}, {"type": "null"}], "description": "x"},
        lambda inner: {"type": "object", "description": "x", "additionalProperties": {"properties": inner}},
        lambda inner: {"$ref": "#/$defs/A", "description": "x", "$defs": {"A": {"properties": inner}}},
    ],
    ids=["object", "array", "variants", "any name", "definitions"],
)
def test_nested_properties_count_like_those_on_top(place: Callable[[Any], Any]) -> None:
    inner = {"street": {"type": "string", "description": "Its name", "enum": ["a", "b"]}, "floor": {"type": "integer"}}
    encoding = load("o200k_base")
    of_inner = (
        3 + 3 + 3 - 3 + 3 + 1 + 3 + 1 + tokens(encoding, "street:string:Its name") + tokens(encoding, "floor:integer:")
    )

    flat = counted("chat", {"messages": [], "tools": [tool("f", "d", address={**place({}), "properties": {}})]})
    nested = counted("chat", {"messages": [], "tools": [tool("f", "d", address=place(inner))]})

    assert (flat, nested) == (flat, (flat or 0) + of_inner)


def test_a_tool_with_less_than_the_formula_needs_counts_all_the_same() -> None:
    bare = {"type": "function", "function": {"name": "f"}}
    odd = tool("f", "", a={"type": ["string", "null"]}, b=True, c={"enum": [1, None, "x"]})

    expected = 3 + 7 + tokens(load("o200k_base"), "f:") + 12
    assert counted("chat", {"messages": [], "tools": [bare]}) == expected
    assert (counted("chat", {"messages": [], "tools": [odd]}) or 0) > expected
    assert counted("chat", {"messages": [], "tools": [{"type": "web_search"}]}) == 3


@pytest.mark.parametrize(
    ("kind", "body", "texts"),
    [
        ("completions", {"prompt": "Once upon a time"}, ["Once upon a time"]),
        ("completions", {"prompt": ["你好", "b c"]}, ["你好", "b c"]),
        ("completions", {"prompt": "def f(", "suffix": "return 1"}, ["def f(", "return 1"]),
        ("completions", {"prompt": "a", "suffix": None}, ["a"]),
        ("embeddings", {"input": "The food was delicious"}, ["The food was delicious"]),
        ("embeddings", {"input": ["a b", "", "😀"]}, ["a b", "😀"]),
        ("embeddings", {"input": [12, 34, 56]}, 3),
        ("embeddings", {"input": [[12, 34], [56], [7]]}, 4),
        ("embeddings", {"input": []}, 0),
        ("moderations", {"input": "I want to"}, ["I want to"]),
        ("moderations", {"input": ["x", "y z"]}, ["x", "y z"]),
        ("moderations", {"input": [{"type": "text", "text": "hi there"}, {"type": "image_url"}]}, ["hi there"]),
        ("rerank", {"query": "What?", "documents": ["Doc one", {"text": "文档二"}]}, ["What?", "Doc one", "文档二"]),
        ("images", {"prompt": "A cute baby sea otter", "n": 2}, ["A cute baby sea otter"]),
        ("speech", {"input": "Hello!", "voice": "alloy"}, ["Hello!"]),
        ("speech", {"input": "Hello!", "instructions": "Cheerful."}, ["Hello!", "Cheerful."]),
    ],
)
def test_kinds_without_a_framing_count_their_texts(kind: str, body: Any, texts: list[str] | int) -> None:
    expected = texts if isinstance(texts, int) else sum(tokens(load("cl100k_base"), text) for text in texts)

    assert counted(kind, body, "cl100k_base") == expected


@pytest.mark.parametrize(
    ("kind", "body", "texts", "messages"),
    [
        ("responses", {"input": "Hi there"}, ["user", "Hi there"], 1),
        ("responses", {"input": "Hi", "instructions": "Be kind."}, ["system", "Be kind.", "user", "Hi"], 2),
        (
            "responses",
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "天气?"}, {"type": "input_image"}]},
                    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hmm"}]},
                    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "晴"}]},
                ]
            },
            ["user", "天气?", "Hmm", "weather", "{}", "sunny", "assistant", "晴"],
            5,
        ),
        ("messages", {"messages": user("Hello")}, ["user", "Hello"], 1),
        ("messages", {"system": "Be kind.", "messages": user("Hello")}, ["system", "Be kind.", "user", "Hello"], 2),
        (
            "messages",
            {
                "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "A" * 999}}]},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "Let me see", "signature": "c2ln"},
                            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
                        ],
                    },
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "15 degrees"},
                            {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "ok"}]},
                            {"type": "document", "source": {"type": "text", "data": "Once"}, "title": "x"},
                        ],
                    },
                ],
            },
            [
                *("system", "Be kind.", "user", "assistant", "Let me see", "weather", '{"city": "Rome"}'),
                *("user", "15 degrees", "ok", "Once"),
            ],
            4,
        ),
    ],
)
def test_responses_and_messages_are_framed_like_chats(kind: str, body: Any, texts: list[str], messages: int) -> None:
    expected = 3 + 3 * messages + sum(tokens(load("o200k_base"), text) for text in texts)

    assert counted(kind, body) == expected


def test_tools_of_responses_and_messages_count_like_those_of_a_chat() -> None:
    function = WEATHER["function"]
    parameters = function["parameters"]
    flat = {"type": "function", "strict": True, **function}
    anthropic = {"name": function["name"], "description": function["description"], "input_schema": parameters}
    of_tools = (counted("chat", {"messages": [], "tools": [WEATHER]}) or 0) - 3

    for kind, told, body in (
        ("responses", flat, {"input": "Hi"}),
        ("messages", anthropic, {"messages": user("Hi")}),
    ):
        assert counted(kind, {**body, "tools": [told]}) == (counted(kind, body) or 0) + of_tools


@pytest.mark.parametrize("named", ["previous_response_id", "conversation", "prompt"])
def test_an_input_that_the_provider_keeps_a_part_of_is_unknown(named: str) -> None:
    assert counted("responses", {"input": "And then?", named: "x_1"}) is None
    assert counted("responses", {"input": "And then?", named: None}) is not None


@pytest.mark.parametrize("kind", [*KINDS, "unheard of"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b'{"messages":1,"input":1.5,"prompt":{},"query":null,"documents":3}',
        b'{"messages":[1],"input":[{}, 2.5],"prompt":[["a"]],"query":true}',
        b'{"messages":[{"role":"user","content":{"a":1}}],"input":{},"prompt":false,"query":{}}',
        b'{"messages":[{"role":"user","content":"\\ud800"}],"input":"\xff","prompt":"\xff","query":"\xff"}',
        b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"messages":[],"input":"","prompt":"","query":"","tools":[{"name":"f","parameters":'
        + b'{"items":' * 600
        + b"{}"
        + b"}" * 600
        + b"}],\xff}",
    ],
)
def test_what_does_not_fit_is_unknown_and_nothing_is_raised(kind: str, body: bytes) -> None:
    assert counted(kind, body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = """
    messages content role name tools function functions tool_calls parameters properties items enum anyOf $defs input
    instructions system text prompt query documents source output summary
"""
NAMES_OF_FIELDS = st.sampled_from(FIELDS.split())


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from(list(KINDS)),
    body=st.dictionaries(
        NAMES_OF_FIELDS,
        st.recursive(
            JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES_OF_FIELDS, inner), max_leaves=9
        ),
    ),
)
def test_whatever_a_body_is_there_is_a_figure_or_none(kind: str, body: Any) -> None:
    found = counted(kind, json.dumps(body).encode())

    assert found is None or found >= 0
