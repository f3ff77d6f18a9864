"""An OpenAI chat completions request as one of Anthropic Messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llm_one_api.dialects.translating.anthropic_messages import conversation
from llm_one_api.dialects.translating.anthropic_tools import tools_and_choice
from llm_one_api.dialects.translating.fields import (
    Untranslatable,
    flag,
    inside,
    items,
    malformed,
    members,
    name,
    nothing_left,
    number,
    plain_object,
    text,
    unsayable,
    whole,
)

LARGE, MOST_PARTS, MOST_COMMAS = 256 * 1024, 100_000, 1_000_000
"""Of a body that is longer, so many objects and lists, and commas, are taken: all other calls wait while it is read.
What stands in its texts counts too, so the bounds are far beyond any chat."""

Said = dict[str, Any]
"""Members of a request to Anthropic."""


def request(body: bytes, *, model: str, max_tokens: int) -> bytes:
    """Translate a request; *model* is what the upstream calls it, *max_tokens* holds where the caller sets no limit.

    Raises Untranslatable, and nothing else, for what cannot be said in the other dialect and for what is malformed.
    """
    if len(body) > LARGE and (body.count(b"{") + body.count(b"[") > MOST_PARTS or body.count(b",") > MOST_COMMAS):
        raise Untranslatable("the body has too many parts to be translated", "body")
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise Untranslatable(f"the body is no JSON that can be read: {error}", "body") from None
    said = _translate(members(given, "body"), model, max_tokens)
    try:
        return msgspec.json.encode(said)
    except RecursionError:
        raise Untranslatable("the body is nested too deeply", "body") from None


def _translate(rest: Said, model: str, max_tokens: int) -> Said:
    rest.pop("model", None)
    said: Said = {"model": model, "max_tokens": _limit(rest, max_tokens)}
    system, said["messages"] = conversation(rest.pop("messages", None))
    if system:
        said["system"] = system
    said |= tools_and_choice(rest)
    for field, translate in _SINGLE.items():
        if field in rest:
            said |= translate(rest.pop(field))
    output = _format(rest)
    effort = _effort(rest)
    if effort:  # the caller's own `thinking` is the more exact
        said.setdefault("thinking", {"type": "disabled" if effort == "none" else "adaptive"})
    if effort and effort != "none":
        output["effort"] = effort
    if output:
        said["output_config"] = output
    _pass_over(rest)
    nothing_left(rest, "")
    return said


def _limit(rest: Said, most: int) -> int:
    limits = {
        whole(rest.pop(field), field, least=1) for field in ("max_tokens", "max_completion_tokens") if field in rest
    }
    if len(limits) > 1:
        raise malformed("max_tokens", "the same as `max_completion_tokens`, or left out")
    return limits.pop() if limits else most


# ---- members that are translated one by one ----


def _sampling(field: str) -> Callable[[Any], Said]:
    """Translate `temperature` or `top_p`: 1 is what both dialects take where nothing is said.

    The newest models refuse both, whatever their value, so what says nothing is not said.
    """

    def translate(value: Any) -> Said:
        value = number(value, field)
        if value > 1:
            raise unsayable(field, "there it goes from 0 to 1")
        return {} if value == 1 else {field: value}

    return translate


def _stop(value: Any) -> Said:
    stops = [value] if isinstance(value, str) else items(value, "stop")
    for i, stop in enumerate(stops):
        if not text(stop, f"stop[{i}]") or stop.isspace():
            raise unsayable(f"stop[{i}]", "it must be more than white space")
    return {"stop_sequences": stops} if stops else {}


def _end_user(field: str) -> Callable[[Any], Said]:
    return lambda value: {"metadata": {"user_id": name(value, field)}}


def _service_tier(value: Any) -> Said:
    tier = text(value, "service_tier")
    if tier not in {"auto", "default"}:
        raise unsayable("service_tier", "there it is auto or default")
    return {"service_tier": "standard_only"} if tier == "default" else {}


def _stream_options(value: Any) -> Said:
    """Read them: of what they ask for, usage is told in any stream, and padding cannot be had."""
    options = members(value, "stream_options")
    flag(options.pop("include_usage", False), "stream_options.include_usage")
    if options.get("include_obfuscation") is False:
        del options["include_obfuscation"]
    nothing_left(options, "stream_options")
    return {}


_SINGLE: Mapping[str, Callable[[Any], Said]] = {
    "temperature": _sampling("temperature"),
    "top_p": _sampling("top_p"),
    "stop": _stop,
    "stream": lambda value: {"stream": True} if flag(value, "stream") else {},
    "stream_options": _stream_options,
    "user": _end_user("user"),
    "safety_identifier": _end_user("safety_identifier"),  # the new name of the same
    "service_tier": _service_tier,
    # Anthropic's own, from callers who know whom they talk to.
    "top_k": lambda value: {"top_k": whole(value, "top_k", least=0)},
    "thinking": lambda value: {"thinking": plain_object(value, "thinking")},
    "cache_control": lambda value: {"cache_control": plain_object(value, "cache_control")},
}


# ---- output_config ----

_EFFORTS = frozenset({"none", "low", "medium", "high", "xhigh", "max"})


def _effort(rest: Said) -> str:
    """Read `reasoning_effort`: how much to reason, which with OpenAI also says that it is to be done."""
    effort = text(rest.pop("reasoning_effort", ""), "reasoning_effort")
    if effort and effort not in _EFFORTS:
        raise unsayable("reasoning_effort", "there it is none, low, medium, high, xhigh or max")
    return effort


def _format(rest: Said) -> Said:
    """Translate `response_format`. A schema holds strictly with Anthropic, also for those who ask for less."""
    if "response_format" not in rest:
        return {}
    wanted = members(rest.pop("response_format"), "response_format")
    kind = text(wanted.pop("type", None), "response_format.type")
    if kind == "text":
        nothing_left(wanted, "response_format")
        return {}
    if kind != "json_schema":
        raise unsayable(inside("response_format", kind), "ask for a `json_schema`")
    path = "response_format.json_schema"
    given = members(wanted.pop("json_schema", None), path)
    text(given.pop("name", ""), f"{path}.name")
    flag(given.pop("strict", False), f"{path}.strict")
    schema = plain_object(given.pop("schema", None), f"{path}.schema")
    if "description" in given:
        description = text(given.pop("description"), f"{path}.description")
        if schema.setdefault("description", description) != description:
            raise unsayable(f"{path}.description", "say it in the schema's own description")
    nothing_left(given, path)
    nothing_left(wanted, "response_format")
    return {"format": {"type": "json_schema", "schema": schema}}


# ---- members that change nothing at some values ----

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "modalities": (["text"],),
    "store": (False,),
    "metadata": ({},),
    "verbosity": ("medium",),
    "functions": ([],),
}
_HINTS = ("prompt_cache_key", "prompt_cache_retention")
"""Where and how long OpenAI keeps a prompt: it never changes an answer."""
_ADVICE = {"functions": "use `tools`", "function_call": "use `tool_choice`"}


def _pass_over(rest: Said) -> None:
    """Take out what changes nothing at its value; advise on what does."""
    for field in _HINTS:
        text(rest.pop(field, ""), field)
    for field, values in _WITHOUT_EFFECT.items():
        if field in rest and any(type(rest[field]) is type(value) and rest[field] == value for value in values):
            del rest[field]
    for field in rest:
        if field in _ADVICE:
            raise unsayable(field, _ADVICE[field])
        if field in _WITHOUT_EFFECT:
            only = msgspec.json.encode(_WITHOUT_EFFECT[field][0]).decode()
            raise unsayable(field, f"leave it out (or at {only})")
