"""Where nothing is reported: tokens counted with tiktoken and OpenAI's published framing, and said to be estimates.

The figures are written out: they were counted with tiktoken itself, and `tests/conformance/` counts them again.
"""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import case
from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.models import GPT_4O, GPT_35
from llm_one_api.conformance.scripts import DONE, Script, encoded, refusal, whole
from llm_one_api.conformance.shapes import openai, responses
from llm_one_api.conformance.shapes.openai import BEGUN, CHAT, ENDED, FINISH, chunk, stream_of
from llm_one_api.values import Usage

HELLO = [{"role": "user", "content": "Say hello."}]
MIXED = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "你好，世界！今天天气怎么样？"},
]
CODE = "Hello there. 👋🏽 def f(x):\n    return x ** 2\n"
WEATHER = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
"""The example of OpenAI's cookbook, which tells the figures too."""


def ask(model: str, messages: list[dict[str, str]], **more: Any) -> Ask:
    """Ask for a chat whose text is the same each time; the name of the exchange is the end user's."""
    body = {"model": model, "messages": messages, "user": "$CASE", **more}
    return Ask(path=CHAT, body=encoded(body), model=model, stream=more.get("stream") is True)


def counted(prompt: int, completion: int | None) -> Usage:
    """Give a usage of so many."""
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + (completion or 0))


def estimated(name: str, says: str, asked: Ask, script: Script, usage: Usage, **record: Any) -> None:
    """Make a case of an answer that tells no usage."""

    @case(f"estimates/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(asked, script)
        if script.end == "clean":
            bench.gets(call)
        bench.records(call, usage=usage, **{"usage_source": "estimated", "usage_raw": None, **record})


def silent(text: str = "Hello there.", model: str = "gpt-4o") -> Script:
    """Answer without a word on usage."""
    return openai.answer(None, None, text=text, model=model)


estimated(
    "whole", "An answer without usage is estimated, input and output.", ask(GPT_4O, HELLO), silent(), counted(10, 3)
)
estimated(
    "usage-null",
    "So is one whose usage is null.",
    ask(GPT_4O, HELLO),
    whole(openai.chat(model="gpt-4o", usage=None), model="gpt-4o", finish_reason="stop"),
    counted(10, 3),
)
estimated(
    "mixed",
    "Chinese, code and emoji are counted as the model's encoding does (o200k).",
    ask(GPT_4O, MIXED),
    silent(CODE),
    counted(24, 18),
)
estimated(
    "older-encoding",
    "An older model's text is counted with the older encoding (cl100k).",
    ask(GPT_35, MIXED),
    silent(CODE, "gpt-3.5-turbo"),
    counted(32, 19),
)
estimated(
    "tools",
    "Tools count as OpenAI's cookbook says: 101 tokens for its example.",
    ask(GPT_4O, WEATHER, tools=[TOOL]),
    silent(),
    counted(101, 3),
)
estimated(
    "tools-older",
    "With the older encoding it is 105.",
    ask(GPT_35, WEATHER, tools=[TOOL]),
    silent(model="gpt-3.5-turbo"),
    counted(105, 3),
)


def told_nothing(*events: bytes, **more: Any) -> Script:
    """Stream without a word on usage."""
    return stream_of(*events, **{"raw": None, "usage": None, **more})


estimated(
    "stream",
    "A stream without usage is estimated from its pieces, put together.",
    ask(GPT_4O, HELLO, stream=True),
    told_nothing(*ENDED, DONE),
    counted(10, 3),
)
estimated(
    "stream-in-letters",
    "However a text is cut into deltas, it is the text that counts.",
    ask(GPT_4O, HELLO, stream=True),
    told_nothing(*(chunk({"content": letter}) for letter in CODE), FINISH, DONE),
    counted(10, 18),
)
estimated(
    "stream-long",
    "A long stream is counted as it comes.",
    ask(GPT_4O, HELLO, stream=True),
    told_nothing(*(chunk({"content": " word" * 50}) for _ in range(400)), FINISH, DONE),
    counted(10, 20_000),
)
CUT: dict[str, Any] = {"end": "close", "outcome": "truncated", "finish_reason": None}
estimated(
    "stream-cut",
    "A stream that was cut is `partial`: what had come of it, and the input.",
    ask(GPT_4O, HELLO, stream=True),
    told_nothing(*BEGUN, **CUT),
    counted(10, 3),
    usage_source="partial",
    error="upstream_truncated",
)


@case("estimates/completions")
def completions(bench: Bench) -> None:
    """A completion's prompt is counted as it is, without framing."""
    body = {"model": GPT_4O, "prompt": "Say hello.", "user": "$CASE"}
    asked = Ask(path="/v1/completions", body=encoded(body), model=GPT_4O)
    call = bench.call(asked, whole(openai.completion(None), model=openai.MODEL, finish_reason="stop"))
    bench.holds(call, usage=counted(3, 3), usage_source="estimated")


@case("estimates/embeddings")
def embeddings(bench: Bench) -> None:
    """An embedding's input is counted, and it has no output."""
    body = {"model": GPT_4O, "input": ["Say hello.", "Hello there."], "user": "$CASE"}
    answer = openai.embeddings({})
    del answer["usage"]
    call = bench.call(Ask(path="/v1/embeddings", body=encoded(body), model=GPT_4O), whole(answer, model=openai.MODEL))
    bench.holds(call, usage=counted(6, None), usage_source="estimated", finish_reason=None)


@case("estimates/responses-cut")
def responses_cut(bench: Bench) -> None:
    """A response that was cut is counted by the text that had come."""
    script = responses.stream_of(*responses.BEGUN, usage=None, usage_raw=None, **CUT)
    call = bench.call(responses.ask(GPT_4O, input="Say hello.", user="$CASE", stream=True), script)
    three = counted(10, 3)
    bench.records(call, usage=three, usage_source="partial", error="upstream_truncated")


@case("estimates/partly-reported")
def partly(bench: Bench) -> None:
    """What had been reported of a stream that was cut stays, where it is more than its text comes to: reasoning."""
    raw = {"prompt_tokens": 50, "completion_tokens": 60, "total_tokens": 110}
    usage = Usage(prompt_tokens=50, completion_tokens=60, total_tokens=110)
    script = stream_of(*BEGUN, chunk({"content": ""}, usage=raw), raw=raw, usage=usage, **CUT)
    call = bench.call(ask(GPT_4O, HELLO, stream=True), script)
    bench.records(call, usage_source="partial", error="upstream_truncated")


@case("estimates/error-is-not-estimated")
def errors(bench: Bench) -> None:
    """A refused request used nothing: there is nothing to estimate."""
    told = openai.error("No.", "invalid_request_error", "bad")
    call = bench.call(ask(GPT_4O, HELLO), refusal(400, told, outcome="client_error"))
    bench.holds(call, error="bad", usage=None, usage_source="none")
