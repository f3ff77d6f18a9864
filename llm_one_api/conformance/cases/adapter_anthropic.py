"""`adapter: anthropic`: an OpenAI client talks to an Anthropic upstream, and nothing is lost in silence."""

from __future__ import annotations

import json
from typing import Any

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import case
from llm_one_api.conformance.judge import ANYTHING, COUNTED, SOMETHING, That, containing
from llm_one_api.conformance.models import ANTHROPIC, UPSTREAM_KEY
from llm_one_api.conformance.scripts import Script, refusal
from llm_one_api.conformance.shapes import anthropic, openai
from llm_one_api.conformance.shapes.anthropic import STOP, block, end, message, start, stream_of, typed
from llm_one_api.values import Outcome

ASK, ASK_STREAM = openai.ask(ANTHROPIC), openai.ask_stream(ANTHROPIC)
ANY_BODY = That("a translated body", lambda body: len(body) > 0)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tell it", "parameters": {"type": "object", "properties": {}}},
}
USED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln", "days": 2}}


def choice(call: Call) -> Any:
    """Give the one choice of an answer."""
    answer = call.reply.json if call.reply else None
    return answer["choices"][0] if isinstance(answer, dict) and answer.get("choices") else {}


def told_as_openai(bench: Bench, answer: Any) -> None:
    """Check the usage of an answer in OpenAI's shape."""
    usage = (answer or {}).get("usage") or {}
    bench.check("usage.prompt_tokens", 1120, usage.get("prompt_tokens"))
    bench.check("usage.completion_tokens", 30, usage.get("completion_tokens"))
    bench.check("usage.total_tokens", 1150, usage.get("total_tokens"))
    bench.check(
        "usage.prompt_tokens_details.cached_tokens",
        1000,
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
    )


def recorded(bench: Bench, call: Call, **record: Any) -> None:
    """Check the record; the reason to end is the caller's or the upstream's word for it."""
    bench.records(call, **{"finish_reason": SOMETHING, "service_tier": ANYTHING, **record})
    exchange = bench.reaches(call, x_api_key=UPSTREAM_KEY, authorization=None, anthropic_version=anthropic.VERSION)
    if exchange is not None:
        bench.check("path upstream", That("…/v1/messages", lambda path: path.endswith("/v1/messages")), exchange.path)


@case("adapter-anthropic/text")
def text(bench: Bench) -> None:
    """A chat is answered in OpenAI's shape; the record has Anthropic's usage, raw as it came."""
    call = bench.call(ASK, anthropic.answer(message()))
    bench.gets(call, body=ANY_BODY)
    said = choice(call)
    bench.check("message.content", "Hello there.", said.get("message", {}).get("content"))
    bench.check("finish_reason", "stop", said.get("finish_reason"))
    answer = call.reply.json if call.reply else None
    bench.check("object", "chat.completion", (answer or {}).get("object"))
    bench.check("model", anthropic.MODEL, (answer or {}).get("model"))
    told_as_openai(bench, answer)
    recorded(bench, call, endpoint="chat")
    sent = call.sent_json
    bench.check("model upstream", ANTHROPIC, sent.get("model"))
    bench.check("max_tokens upstream", SOMETHING, sent.get("max_tokens"))


def blocks(call: Call, number: int) -> list[Any]:
    """Give the blocks of a message that went up; a text alone is one block."""
    content = call.sent_json["messages"][number]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@case("adapter-anthropic/request-limits")
def request_limits(bench: Bench) -> None:
    """System prompt, limit, stops and temperature go up in Anthropic's words."""
    said = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "$CASE"}]
    asked = openai.ask(ANTHROPIC, messages=said, max_tokens=77, stop=["END"], temperature=0.5)
    call = bench.call(asked, anthropic.answer(message()))
    recorded(bench, call)
    sent = call.sent_json
    bench.check("max_tokens upstream", 77, sent.get("max_tokens"))
    bench.check("stop_sequences upstream", ["END"], sent.get("stop_sequences"))
    bench.check("temperature upstream", 0.5, sent.get("temperature"))
    bench.check("system upstream", containing("Be terse."), sent.get("system"))
    bench.check("roles upstream", ["user"], [each["role"] for each in sent["messages"]])


@case("adapter-anthropic/request-image")
def request_image(bench: Bench) -> None:
    """An image in a `data:` URL goes up as an image."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    said = [{"role": "user", "content": [{"type": "text", "text": "$CASE"}, image]}]
    call = bench.call(openai.ask(ANTHROPIC, messages=said), anthropic.answer(message()))
    recorded(bench, call)
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    expected = [{"type": "text", "text": call.token}, {"type": "image", "source": source}]
    bench.check("blocks upstream", expected, blocks(call, 0))


@case("adapter-anthropic/request-tools")
def request_tools(bench: Bench) -> None:
    """Tools, the calls of them and their results go up in Anthropic's words."""
    used = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
    said = [
        {"role": "user", "content": "$CASE"},
        {"role": "assistant", "content": None, "tool_calls": [used]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    asked = openai.ask(ANTHROPIC, messages=said, tools=[TOOL], tool_choice="required")
    call = bench.call(asked, anthropic.answer(message()))
    recorded(bench, call)
    sent = call.sent_json
    tool = {"name": "weather", "description": "Tell it", "input_schema": {"type": "object", "properties": {}}}
    bench.check("tools upstream", [tool], sent.get("tools"))
    bench.check("tool_choice upstream", {"type": "any"}, sent.get("tool_choice"))
    bench.check("roles upstream", ["user", "assistant", "user"], [each["role"] for each in sent["messages"]])
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Köln"}}
    bench.check("the call upstream", [use], blocks(call, 1))
    [result] = blocks(call, 2)
    bench.check("the result's kind upstream", ("tool_result", "call_1"), (result["type"], result["tool_use_id"]))
    bench.check("the result upstream", containing("Rain."), result["content"])


@case("adapter-anthropic/tools")
def tools(bench: Bench) -> None:
    """A call of a tool comes back as OpenAI's `tool_calls`."""
    call = bench.call(
        openai.ask(ANTHROPIC, tools=[TOOL]),
        anthropic.answer(message({"type": "text", "text": "Let me see."}, USED, stop_reason="tool_use")),
    )
    bench.gets(call, body=ANY_BODY)
    said = choice(call)
    bench.check("finish_reason", "tool_calls", said.get("finish_reason"))
    bench.check("message.content", "Let me see.", said.get("message", {}).get("content"))
    tool = (said.get("message", {}).get("tool_calls") or [{}])[0]
    bench.check("tool_calls[0].id", "toolu_1", tool.get("id"))
    bench.check("tool_calls[0].function.name", "weather", tool.get("function", {}).get("name"))
    arguments = tool.get("function", {}).get("arguments", "null")
    bench.check("tool_calls[0].function.arguments", {"city": "Köln", "days": 2}, json.loads(arguments))
    recorded(bench, call)


def finishes(reason: str, as_openai: str) -> None:
    """Make a case of a reason to end."""

    @case(f"adapter-anthropic/finish-{reason.replace('_', '-')}", f"`{reason}` is OpenAI's `{as_openai}`.")
    def play(bench: Bench) -> None:
        call = bench.call(ASK, anthropic.answer(message(stop_reason=reason)))
        bench.check("finish_reason", as_openai, choice(call).get("finish_reason"))
        recorded(bench, call)


finishes("max_tokens", "length")
finishes("stop_sequence", "stop")
finishes("refusal", "content_filter")


def chunks(call: Call) -> list[Any]:
    """Give the chunks of a stream."""
    return [each for each in (call.reply.events if call.reply else []) if isinstance(each, dict)]


def deltas(call: Call) -> list[Any]:
    """Give the deltas of its one choice."""
    return [each["choices"][0]["delta"] for each in chunks(call) if each.get("choices")]


@case("adapter-anthropic/stream")
def stream(bench: Bench) -> None:
    """A stream comes as OpenAI's chunks, and its usage is recorded though nobody asked for it."""
    call = bench.call(ASK_STREAM, anthropic.STREAM)
    bench.gets(call, body=That("a stream that ends in [DONE]", lambda body: body.endswith(b"data: [DONE]\n\n")))
    bench.check("the text", "Hello there.", "".join(each.get("content") or "" for each in deltas(call)))
    bench.check("usage chunk", False, any(each.get("usage") for each in chunks(call)))
    reasons = [each["choices"][0]["finish_reason"] for each in chunks(call) if each.get("choices")]
    bench.check("finish reasons", ["stop"], [each for each in reasons if each])
    recorded(bench, call, ttft=SOMETHING)
    bench.check("stream upstream", True, call.sent_json.get("stream"))
    bench.check("stream_options upstream", False, "stream_options" in call.sent_json)


@case("adapter-anthropic/stream-usage-asked")
def stream_usage(bench: Bench) -> None:
    """A caller who asked for usage gets it, in OpenAI's words, in a last chunk."""
    asked = openai.ask_stream(ANTHROPIC, stream_options={"include_usage": True})
    call = bench.call(asked, anthropic.STREAM)
    bench.gets(call, body=ANY_BODY)
    last = chunks(call)[-1] if chunks(call) else {}
    bench.check("choices of the last chunk", [], last.get("choices"))
    told_as_openai(bench, last)
    recorded(bench, call)


@case("adapter-anthropic/stream-tools")
def stream_tools(bench: Bench) -> None:
    """Calls of tools are streamed as deltas, each with its place, and put together give the same arguments."""

    def piece(words: str) -> bytes:
        return typed("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": words})

    tool = block({**USED, "input": {}}, piece('{"city": "K'), piece('öln", "days"'), piece(": 2}"), index=1)
    said = block({"type": "text", "text": ""}, anthropic.text("Let me see."))
    script = stream_of(start(), *said, *tool, end("tool_use"), STOP)
    call = bench.call(openai.ask_stream(ANTHROPIC, tools=[TOOL]), script)
    bench.gets(call, body=ANY_BODY)
    calls = [each["tool_calls"][0] for each in deltas(call) if each.get("tool_calls")]
    first = [(each["id"], each["function"]["name"], each["index"]) for each in calls[:1]]
    bench.check("the first delta of a call", [("toolu_1", "weather", 0)], first)
    arguments = "".join(each["function"].get("arguments") or "" for each in calls)
    bench.check("the arguments", {"city": "Köln", "days": 2}, json.loads(arguments or "null"))
    recorded(bench, call)


@case("adapter-anthropic/stream-cut")
def stream_cut(bench: Bench) -> None:
    """A stream that breaks off ends in an error event in OpenAI's shape, and an aborted connection."""
    script = stream_of(*anthropic.BEGUN, end="close", outcome="truncated", usage=None, usage_raw=None)
    call = bench.call(ASK_STREAM, script)
    bench.gets(call, body=ANY_BODY, clean=False)
    events = call.reply.events if call.reply else []
    bench.check(
        "the last event",
        That("an object with `error`", lambda e: e["error"]["message"]),
        events[-1] if events else None,
    )
    recorded(bench, call, error=SOMETHING, usage=COUNTED, usage_raw=ANYTHING, usage_source="partial",
             finish_reason=None)  # fmt: skip


@case("adapter-anthropic/stream-error")
def stream_error(bench: Bench) -> None:
    """Anthropic's event `error` becomes one that OpenAI's SDK raises on."""
    told = typed("error", error={"type": "overloaded_error", "message": "Overloaded"})
    script = stream_of(*anthropic.BEGUN, told, outcome="stream_error", usage=None, usage_raw=None)
    call = bench.call(ASK_STREAM, script)
    bench.gets(call, body=ANY_BODY, clean=False)
    last = call.reply.events[-1] if call.reply and call.reply.events else None
    bench.check("the last event", That("an object with `error`", lambda event: event["error"]["message"]), last)
    recorded(bench, call, error="overloaded_error", usage=COUNTED, usage_raw=ANYTHING,
             usage_source="partial", finish_reason=None)  # fmt: skip


def refused(status: int, kind: str, outcome: Outcome, seen: int | None = None) -> None:
    """Make a case of a refusal, which the caller sees in OpenAI's shape."""

    @case(f"adapter-anthropic/refused-{status}", f"Anthropic's {status} comes in OpenAI's shape.")
    def play(bench: Bench) -> None:
        script = refusal(status, anthropic.error(kind, "No, because."), outcome=outcome, id_header="request-id")
        call = bench.call(ASK, script)
        bench.gets(call, status=seen or status, body=ANY_BODY)
        error = (call.reply.json or {}).get("error") if call.reply and isinstance(call.reply.json, dict) else None
        bench.check("error.message", SOMETHING, (error or {}).get("message"))
        bench.records(call, error=SOMETHING, status=seen or status)


refused(400, "invalid_request_error", "client_error")
refused(401, "authentication_error", "upstream_error", 502)
refused(429, "rate_limit_error", "upstream_error")
refused(529, "overloaded_error", "upstream_error")


def unsayable(field: str, **more: Any) -> None:
    """Make a case of what Anthropic has no word for."""

    @case(f"adapter-anthropic/unsayable-{field.replace('_', '-')}", f"`{field}` cannot be said: 400 that names it.")
    def play(bench: Bench) -> None:
        call = bench.call(openai.ask(ANTHROPIC, **more), Script())
        bench.gets(call, status=400, body=containing(field))
        error = (call.reply.json or {}).get("error", {}) if call.reply else {}
        bench.check(
            "error.param", That(f"{field}, or a place in it", lambda param: param.startswith(field)), error.get("param")
        )
        bench.reaches(call, requests=0)
        bench.records(call, outcome="rejected", error=SOMETHING, upstream=ANYTHING, attempts=[])


unsayable("logprobs", logprobs=True)
unsayable("n", n=2)
unsayable("seed", seed=7)
unsayable("logit_bias", logit_bias={"50256": -100})
unsayable("frequency_penalty", frequency_penalty=1.5)
