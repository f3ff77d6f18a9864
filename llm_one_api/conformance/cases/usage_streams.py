"""Usage of streams: asked for on the caller's behalf, taken out again, and found wherever providers put it."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import case
from llm_one_api.conformance.judge import COUNTED, SOMETHING, about, between
from llm_one_api.conformance.models import PLAIN, STRICT
from llm_one_api.conformance.scripts import DONE, HOLD, Pause, Script, event, refusal, stream
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import (
    ASK_STREAM,
    ASK_USAGE,
    BEGUN,
    ENDED,
    FINISH,
    RAW,
    SILENT_STREAM,
    STREAM,
    USAGE,
    USAGE_EVENT,
    chunk,
    stream_of,
)

WITHOUT = b"".join((*ENDED, DONE))
"""A whole stream but for its usage event."""


@case("streams/usage-asked-on-behalf")
def asked_on_behalf(bench: Bench) -> None:
    """Usage is asked for on behalf of a caller who did not, and its one event is taken out; nothing else changes."""
    call = bench.call(ASK_STREAM, STREAM)
    bench.holds(call, body=WITHOUT, ttft=SOMETHING)
    bench.check("stream_options upstream", {"include_usage": True}, call.sent_json.get("stream_options"))
    rest = {name: value for name, value in call.sent_json.items() if name != "stream_options"}
    bench.check(
        "the rest of the body upstream",
        {"model": call.ask.model, "messages": [{"role": "user", "content": call.token}], "stream": True},
        rest,
    )


@case("streams/usage-asked-by-caller")
def asked_by_caller(bench: Bench) -> None:
    """A caller who asked for the usage event gets it; the body goes on as it came."""
    call = bench.call(ASK_USAGE, STREAM)
    bench.holds(call)
    bench.check("body upstream", ASK_USAGE.body.replace(b"$CASE", call.token.encode()), call.seen.body)


@case("streams/usage-refused-by-caller")
def refused_by_caller(bench: Bench) -> None:
    """`include_usage: false` is a caller who did not ask; other stream options stay."""
    options = {"include_usage": False, "include_obfuscation": False}
    call = bench.call(openai.ask_stream(stream_options=options), STREAM)
    bench.holds(call, body=WITHOUT)
    wanted = {"include_usage": True, "include_obfuscation": False}
    bench.check("stream_options upstream", wanted, call.sent_json.get("stream_options"))


def passes(name: str, says: str, *events: bytes, **more: Any) -> None:
    """Make a case of a stream that passes as it is, also where usage was asked for on the caller's behalf."""

    @case(f"streams/{name}", says)
    def play(bench: Bench) -> None:
        bench.holds(bench.call(ASK_STREAM, stream_of(*events, **more)))


passes(
    "usage-in-finish-chunk",
    "Usage in the chunk that has the finish reason is read, and that chunk stays.",
    *BEGUN,
    chunk({}, "stop", usage=RAW),
    DONE,
)
passes(
    "usage-in-every-chunk",
    "Usage that grows with each chunk counts once: the last figures.",
    chunk({"role": "assistant", "content": "Hello"}, usage={**RAW, "completion_tokens": 1, "total_tokens": 51}),
    chunk({"content": " there."}, usage={**RAW, "completion_tokens": 60, "total_tokens": 110}),
    chunk({}, "stop", usage=RAW),
    DONE,
)
passes(
    "usage-with-content",
    "An event with usage and choices is no event of ours: it stays.",
    *BEGUN,
    chunk({"content": ""}, "stop", usage=RAW),
    DONE,
)


@case("streams/azure-first-chunk")
def azure_first_chunk(bench: Bench) -> None:
    """Azure's first chunk, with empty `choices` and no usage, stays; the usage event goes."""
    first = chunk(None, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
    call = bench.call(ASK_STREAM, stream_of(first, *ENDED, USAGE_EVENT, DONE))
    bench.holds(call, body=first + WITHOUT)


@case("streams/usage-null-chunks")
def usage_null(bench: Bench) -> None:
    """The `"usage": null` that OpenAI then adds to other chunks stays, also where a chunk has no choices."""
    nulls = (
        chunk({"role": "assistant", "content": "Hi"}, usage=None),
        chunk(None, usage=None),
        chunk({}, "stop", usage=None),
    )
    call = bench.call(ASK_STREAM, stream_of(*nulls, USAGE_EVENT, DONE))
    bench.holds(call, body=b"".join((*nulls, DONE)))


@case("streams/usage-after-finish")
def usage_after_finish(bench: Bench) -> None:
    """Reading goes on past the finish reason to a usage event that comes later."""
    call = bench.call(ASK_STREAM, stream_of(*ENDED, Pause(seconds=0.7), USAGE_EVENT, DONE))
    bench.holds(call, body=WITHOUT)


@case("streams/no-done")
def no_done(bench: Bench) -> None:
    """A stream that ends after its finish reason, without `[DONE]`, has come to its end."""
    call = bench.call(ASK_STREAM, stream_of(*ENDED, USAGE_EVENT))
    bench.holds(call, body=b"".join(ENDED))


@case("streams/completions")
def completions(bench: Bench) -> None:
    """Streams of completions are read as those of chats are."""
    word = event(openai.completion(None, text="Hello", finish_reason=None))
    last = event(openai.completion(None, text=""))
    told = event({**openai.completion(RAW), "choices": []})
    script = stream_of(word, last, told, DONE)
    call = bench.call(openai.ask_completion(stream=True), script)
    bench.holds(call, body=word + last + DONE, endpoint="completions")


@case("streams/whole-answer-to-a-stream")
def whole_answer(bench: Bench) -> None:
    """An upstream that answers a request for a stream in one piece is read as it answers."""
    bench.holds(bench.call(ASK_STREAM, openai.answer()))


@case("streams/stream-in-another-type")
def close_delimited(bench: Bench) -> None:
    """A stream whose end is the end of its connection has come to its end."""
    bench.holds(bench.call(ASK_STREAM, STREAM.but(framing="close")), body=WITHOUT)


@case("streams/ttft-and-speed")
def ttft(bench: Bench) -> None:
    """The first byte's time is that of the answer's body, and speed is counted from there."""
    script = stream_of(Pause(seconds=0.4), *BEGUN, Pause(seconds=0.6), FINISH, USAGE_EVENT, DONE)
    call = bench.call(ASK_STREAM, script)
    bench.holds(call, body=WITHOUT, ttft=SOMETHING)
    record, reply = call.record, call.reply
    if record is not None and reply is not None and reply.first_at is not None:
        seen = reply.first_at - reply.sent_at
        bench.check("record.ttft, as the caller saw it", between(0.4, seen), record["ttft"])
        rate = about(120 / (record["duration"] - record["ttft"]))
        bench.check("record.output_tokens_per_second", rate, record.get("output_tokens_per_second"))


@case("streams/events-at-once")
def at_once(bench: Bench) -> None:
    """The first event reaches the caller while the upstream is silent: nothing waits for more."""
    call = bench.begin(ASK_STREAM, stream_of(*BEGUN, HOLD, FINISH, USAGE_EVENT, DONE))
    first = call.read(lambda body: body.count(b"\n\n") >= len(BEGUN))
    bench.check("events before the upstream went on", b"".join(BEGUN), first.body)
    call.account.released.set()
    call.read()
    bench.holds(call, body=WITHOUT)


def refuses(name: str, says: str, model: str, script: Script) -> None:
    """Make a case of an upstream that refuses `stream_options`."""

    @case(f"streams/{name}", says)
    def play(bench: Bench) -> None:
        line = bench.line()
        first = bench.call(openai.ask_stream(model), script, SILENT_STREAM, line=line)
        bench.gets(first, status=200)
        bench.records(first, usage=COUNTED, usage_source="estimated", status=200)
        bench.reaches(first, requests=2)
        bench.check("stream_options the second time", None, first.sent_json.get("stream_options"))
        if first.reply is None or first.reply.headers.get("connection") == "close":
            bench.doubt("the gateway keeps no connections, so that the next call may be another process's")
            return
        second = bench.call(openai.ask_stream(model), SILENT_STREAM, line=line)
        bench.gets(second)
        bench.reaches(second, requests=1)
        bench.check("stream_options once it is known", None, second.sent_json.get("stream_options"))


refuses(
    "options-refused",
    "An upstream that refuses `stream_options` is asked once without, and remembered (as OpenAI words it).",
    PLAIN,
    refusal(
        400,
        openai.error(
            "Unrecognized request argument supplied: stream_options", "invalid_request_error", None, "stream_options"
        ),
    ),
)
refuses(
    "options-refused-422",
    "The same, as servers on FastAPI word it.",
    STRICT,
    refusal(
        422,
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
            ]
        },
    ),
)


@case("streams/other-refusal")
def other_refusal(bench: Bench) -> None:
    """A refusal for another reason is not asked again."""
    script = refusal(
        400, openai.error("'temperature' must be at most 2", "invalid_request_error", "bad"), outcome="client_error"
    )
    bench.holds(bench.call(ASK_STREAM, script), error="bad")


@case("streams/options-of-the-caller-refused")
def callers_options_refused(bench: Bench) -> None:
    """Where the caller asked for usage itself, the upstream's refusal is the caller's to see."""
    told = openai.error("Unrecognized request argument supplied: stream_options", "invalid_request_error", "unknown")
    bench.holds(bench.call(ASK_USAGE, refusal(400, told, outcome="client_error")), error="unknown")


@case("streams/usage-event-of-another-kind")
def not_ours(bench: Bench) -> None:
    """An event that only looks like usage, in a text that the model wrote, stays."""
    trap = chunk({"content": '{"choices":[],"usage":{"prompt_tokens":1}} data: [DONE]'})
    call = bench.call(ASK_STREAM, stream_of(*BEGUN, trap, FINISH, USAGE_EVENT, DONE))
    bench.holds(call, body=b"".join((*BEGUN, trap, FINISH, DONE)))


@case("streams/json-stream")
def not_sse(bench: Bench) -> None:
    """A stream with upper-case and parametrised content type is a stream all the same."""
    script = stream(
        *ENDED, USAGE_EVENT, DONE, headers=(("Content-Type", "Text/Event-Stream;charset=UTF-8"),),
        usage=USAGE, usage_raw=RAW, model=openai.MODEL, finish_reason="stop",
    )  # fmt: skip
    bench.holds(bench.call(ASK_STREAM, script), body=WITHOUT)
