"""An OpenAI conversation as Anthropic's `system` and `messages`.

- The system and developer messages in front become `system`. A later one stays where it is where Anthropic has a place
  for it: behind a turn of the user's and before one of the assistant's, or at the end (models before Claude Opus 4.8
  refuse it themselves). Elsewhere it is refused: moved, it would say something else.
- Messages of one role in a row become one turn. A tool's results are a part of the user's turn.
- A message of the system's or the assistant's that says nothing is left out; one of the user's is refused.
- A conversation that ends with the assistant is passed on, and Anthropic goes on with that text (models that cannot do
  that refuse it).
- Left out: `reasoning_content`, which our own answers have, for Anthropic takes thoughts back only as it signed them; a
  tool message's `name`, for `tool_call_id` says it; a tool call's `index`, left over from a stream.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.dialects.translating import anthropic_parts as parts
from llm_one_api.dialects.translating.anthropic_parts import Block, Rest
from llm_one_api.dialects.translating.fields import (
    Untranslatable,
    inside,
    items,
    malformed,
    members,
    name,
    nothing_left,
    text,
    unsayable,
    whole,
)

Turn = dict[str, Any]

_ROLES = {"system": "system", "developer": "system", "user": "user", "tool": "user", "assistant": "assistant"}
"""Whose turn a message belongs to."""


def conversation(value: Any) -> tuple[list[Block], list[Turn]]:
    """Translate `messages` into the system's blocks and the turns."""
    system: list[Block] = []
    turns: list[Turn] = []
    last = ""  # the path of what stands last so far
    for i, message in enumerate(items(value, "messages")):
        path = f"messages[{i}]"
        rest = members(message, path)
        role = text(rest.pop("role", None), inside(path, "role"))
        if role == "function":
            raise unsayable(path, "send it as role `tool`, the answer to one of `tool_calls`")
        if role not in _ROLES:
            raise malformed(inside(path, "role"), "system, developer, user, assistant or tool")
        said = _SAID[role](rest, path)
        nothing_left(rest, path)
        whose = _ROLES[role]
        if not said:
            continue
        if whose == "system" and not turns:
            system += said
            continue
        before = turns[-1]["role"] if turns else None
        if whose == "system" and before == "assistant":
            raise _misplaced(path)
        if whose == "user" and before == "system":
            raise _misplaced(last)
        if whose == before:
            turns[-1]["content"] += said
        else:
            turns.append({"role": whose, "content": said})
        last = path
    if not turns:
        raise malformed("messages", "a list with at least one message of the user's")
    return system, turns


def _misplaced(path: str) -> Untranslatable:
    return unsayable(
        path,
        "a later system message must stand behind the user's and before the assistant's, or at the end: "
        "move it there or to the front",
    )


# ---- what each role says ----


def _system(rest: Rest, path: str) -> list[Block]:
    return parts.blocks(rest.pop("content", None), inside(path, "content"), parts.SYSTEM)


def _user(rest: Rest, path: str) -> list[Block]:
    path = inside(path, "content")
    said = parts.blocks(rest.pop("content", None), path, parts.USER)
    if not said:
        raise unsayable(path, "it must not be empty")
    return said


def _tool(rest: Rest, path: str) -> list[Block]:
    rest.pop("name", None)
    result: Block = {"type": "tool_result", "tool_use_id": name(rest.pop("tool_call_id", None), f"{path}.tool_call_id")}
    content = parts.blocks(rest.pop("content", None), inside(path, "content"), parts.USER)
    if content:
        result["content"] = content
    return [result]


def _assistant(rest: Rest, path: str) -> list[Block]:
    text(rest.pop("reasoning_content", ""), inside(path, "reasoning_content"))
    if rest.get("annotations") == []:
        del rest["annotations"]
    if "function_call" in rest:
        raise unsayable(inside(path, "function_call"), "say it as `tool_calls`")
    said = parts.blocks(rest.pop("content", ""), inside(path, "content"), parts.ASSISTANT)
    refusal = text(rest.pop("refusal", ""), inside(path, "refusal"))
    said += parts.blocks(refusal, inside(path, "refusal"), parts.ASSISTANT)
    calls = items(rest.pop("tool_calls", []), inside(path, "tool_calls"))
    return said + [_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(calls)]


_SAID = {"system": _system, "developer": _system, "user": _user, "tool": _tool, "assistant": _assistant}


def _call(value: Any, path: str) -> Block:
    rest = members(value, path)
    whole(rest.pop("index", 0), inside(path, "index"), least=0)
    kind = text(rest.pop("type", "function"), inside(path, "type"))
    if kind != "function":
        raise unsayable(inside(path, kind), "only calls of functions can be")
    of = inside(path, "function")
    function = members(rest.pop("function", None), of)
    block = {
        "type": "tool_use",
        "id": name(rest.pop("id", None), inside(path, "id")),
        "name": name(function.pop("name", None), inside(of, "name")),
        "input": _arguments(text(function.pop("arguments", None), inside(of, "arguments")), inside(of, "arguments")),
    }
    nothing_left(function, of)
    nothing_left(rest, path)
    return block


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _arguments(said: str, path: str) -> msgspec.Raw:
    """Give the arguments as they were written; none at all is how some write that there are none."""
    if not said or said.isspace():
        return msgspec.Raw(b"{}")
    try:
        _object.decode(said)
    except (ValueError, RecursionError):
        raise malformed(path, "a string that holds a JSON object") from None
    return msgspec.Raw(said.encode())
