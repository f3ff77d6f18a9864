"""Usage of chat, completions and embeddings, as the upstream reports it in a whole answer."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import case
from llm_one_api.conformance.judge import ANYTHING, SOMETHING, That, about, at_least
from llm_one_api.conformance.models import ALIAS, ALIASED
from llm_one_api.conformance.scripts import Pause, whole
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import ASK, RAW, USAGE
from llm_one_api.values import Usage


def reported(name: str, says: str, raw: dict[str, Any], usage: Usage, **record: Any) -> None:
    """Make a case of a usage object and of what it comes to."""

    @case(f"usage/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(ASK, openai.answer(raw, usage))
        bench.holds(call, **record)


reported("chat-whole", "The record has the upstream's figures, and its usage object as it came.", RAW, USAGE)
reported(
    "chat-parts",
    "Cached, reasoning, audio, and predicted tokens are kept as parts of input and output.",
    {
        **RAW,
        "prompt_tokens_details": {"cached_tokens": 32, "audio_tokens": 8},
        "completion_tokens_details": {
            "reasoning_tokens": 64,
            "audio_tokens": 4,
            "accepted_prediction_tokens": 10,
            "rejected_prediction_tokens": 3,
        },
    },
    Usage(
        prompt_tokens=50,
        completion_tokens=120,
        total_tokens=170,
        cache_read_tokens=32,
        audio_input_tokens=8,
        reasoning_tokens=64,
        audio_output_tokens=4,
        accepted_prediction_tokens=10,
        rejected_prediction_tokens=3,
    ),
)
reported(
    "zero-is-zero",
    "A part that is told to be zero is zero, and one that is not told is null.",
    {**RAW, "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
    Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170, cache_read_tokens=0, reasoning_tokens=0),
)
reported(
    "null-parts",
    "Details that are null, as many providers write them, are not told.",
    {**RAW, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": None}},
    USAGE,
)
reported(
    "no-total",
    "A total that is not told is the sum of input and output.",
    {"prompt_tokens": 50, "completion_tokens": 120},
    USAGE,
)
reported(
    "reasoning-beside-output",
    "Where reasoning is counted beside the output and in the total alone (xAI), the output includes it.",
    {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 151,
        "completion_tokens_details": {"reasoning_tokens": 110},
    },
    Usage(prompt_tokens=32, completion_tokens=119, total_tokens=151, reasoning_tokens=110),
)
reported(
    "unknown-fields",
    "Fields that nobody knows yet change nothing, and stay in the raw usage.",
    {**RAW, "queue_time": 0.25, "tiers": {"fast": [1, 2]}},
    USAGE,
)


def faulty(name: str, says: str, raw: dict[str, Any], word: str) -> None:
    """Make a case of a usage object that cannot be true: flagged by a fault with *word* in it, and kept raw."""

    @case(f"usage/fault-{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(ASK, openai.answer(raw))
        flagged = That(f"a fault that names {word}", lambda faults: any(word in fault for fault in faults))
        bench.holds(call, usage_faults=flagged, usage=ANYTHING)


faulty(
    "part-beyond-whole",
    "More cached tokens than input flags the record, and the raw usage stays.",
    {**RAW, "prompt_tokens_details": {"cached_tokens": 51}},
    "cache_read_tokens",
)
faulty(
    "reasoning-beyond-output",
    "More reasoning than output flags the record.",
    {**RAW, "completion_tokens_details": {"reasoning_tokens": 121}},
    "reasoning_tokens",
)
faulty("total-is-no-sum", "A total that is not the sum flags the record.", {**RAW, "total_tokens": 171}, "total_tokens")
faulty("negative", "A negative figure flags the record.", {**RAW, "prompt_tokens": -1}, "prompt_tokens")


@case("usage/completions-whole")
def completions(bench: Bench) -> None:
    """A completion's usage is recorded."""
    script = whole(openai.completion(RAW), usage=USAGE, usage_raw=RAW, model=openai.MODEL, finish_reason="stop")
    call = bench.call(openai.ask_completion(), script)
    bench.holds(call, endpoint="completions")


@case("usage/embeddings")
def embeddings(bench: Bench) -> None:
    """An embedding has input and no output: its output is null, not zero."""
    raw = {"prompt_tokens": 8, "total_tokens": 8}
    script = whole(
        openai.embeddings(raw), usage=Usage(prompt_tokens=8, total_tokens=8), usage_raw=raw, model=openai.MODEL
    )
    call = bench.call(openai.ask_embeddings(), script)
    bench.holds(call, endpoint="embeddings", finish_reason=None)


@case("usage/long-answer")
def long_answer(bench: Bench) -> None:
    """The usage of an answer of 2.5 MB, which passes as it comes, is found at its end."""
    bench.holds(bench.call(ASK, openai.answer(text="word " * 500_000)))


@case("usage/service-tier")
def service_tier(bench: Bench) -> None:
    """The tier that the answer names is on the record."""
    script = whole(
        openai.chat(usage=RAW, service_tier="flex"), usage=USAGE, usage_raw=RAW, model=openai.MODEL,
        finish_reason="stop", service_tier="flex",
    )  # fmt: skip
    bench.holds(bench.call(ASK, script))


@case("usage/alias")
def alias(bench: Bench) -> None:
    """The record tells the caller's name of the model, the upstream's, and that of the answer."""
    call = bench.call(openai.ask(ALIAS), openai.answer())
    bench.holds(call, upstream_model=ALIASED)
    bench.check("model upstream", ALIASED, call.sent_json["model"])


@case("usage/who-called")
def who_called(bench: Bench) -> None:
    """The record tells the user, the end user, the tags, and the SDK's retries; without the header those are null."""
    headers = {"x-stainless-retry-count": "2", "x-llm-one-api-tags": "a, b"}
    call = bench.call(openai.ask(user="end-user-7"), openai.answer(), headers=headers)
    bench.holds(call, sdk_retry_count=2, end_user="end-user-7", tags=["a", "b"], user=SOMETHING)

    call = bench.call(ASK, openai.answer())
    bench.holds(call, sdk_retry_count=None, end_user=None, tags=[])


@case("usage/speed")
def speed(bench: Bench) -> None:
    """Output tokens per second are those of the whole call, where the answer came in one piece."""
    call = bench.call(openai.ask(), openai.answer(before=(Pause(seconds=0.3),)))
    bench.holds(call, duration=at_least(0.3))
    record = call.record
    if record is not None:
        rate = about(120 / record["duration"])
        bench.check("record.output_tokens_per_second", rate, record.get("output_tokens_per_second"))
