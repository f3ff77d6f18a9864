"""`/v1/messages`: Anthropic's own clients, with their key header, their errors, and usage that is cumulative."""

from __future__ import annotations

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import case
from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.judge import ANYTHING, COUNTED, SOMETHING, That, containing
from llm_one_api.conformance.models import UPSTREAM_KEY
from llm_one_api.conformance.scripts import Script, refusal, whole
from llm_one_api.conformance.shapes import anthropic
from llm_one_api.conformance.shapes.anthropic import (
    ASK,
    ASK_STREAM,
    BEGUN,
    RAW,
    STOP,
    STREAM,
    VERSION,
    WORDS,
    Json,
    end,
    message,
    start,
    stream_of,
)
from llm_one_api.values import Usage


def call_as_anthropic(bench: Bench, asked: Ask, script: Script, key: str | None = None) -> Call:
    """Call with the key in `x-api-key` and no `Authorization`."""
    return bench.call(asked, script, key=key, headers={"Authorization": "", "x-api-key": key or bench.gateway.key})


def as_anthropic(bench: Bench, call: Call) -> None:
    """Check that the upstream was spoken to as Anthropic's clients do."""
    bench.reaches(call, x_api_key=UPSTREAM_KEY, authorization=None, anthropic_version=VERSION)
    bench.check("body upstream", call.ask.body.replace(b"$CASE", call.token.encode()), call.seen.body)
    bench.check("path upstream", That("/v1/messages", lambda path: path.endswith("/v1/messages")), call.seen.path)


@case("anthropic/whole")
def whole_message(bench: Bench) -> None:
    """A message's input includes what was read from and written to the cache, with those as its parts."""
    call = call_as_anthropic(bench, ASK, anthropic.answer(message()))
    bench.holds(call, endpoint="messages")
    as_anthropic(bench, call)


@case("anthropic/bearer-key")
def bearer(bench: Bench) -> None:
    """A key may stand in `Authorization` too."""
    bench.holds(bench.call(ASK, anthropic.answer(message())))


@case("anthropic/no-cache")
def no_cache(bench: Bench) -> None:
    """Without a cache the parts are not told, and stay null."""
    raw = {"input_tokens": 20, "output_tokens": 30}
    usage = Usage(prompt_tokens=20, completion_tokens=30, total_tokens=50)
    call = bench.call(ASK, anthropic.answer(message(usage=raw), usage=usage, usage_raw=raw, service_tier=None))
    bench.holds(call)


@case("anthropic/cache-without-times")
def cache_without_times(bench: Bench) -> None:
    """A cache write without a word on its time is one of five minutes, Anthropic's default."""
    raw = {"input_tokens": 20, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 0, "output_tokens": 30}
    usage = Usage(
        prompt_tokens=120, completion_tokens=30, total_tokens=150, cache_read_tokens=0, cache_write_5m_tokens=100
    )
    call = bench.call(ASK, anthropic.answer(message(usage=raw), usage=usage, usage_raw=raw, service_tier=None))
    bench.holds(call)


@case("anthropic/stream")
def stream(bench: Bench) -> None:
    """A stream's usage is that of its last word on each figure; every byte passes."""
    call = call_as_anthropic(bench, ASK_STREAM, STREAM)
    bench.holds(call, ttft=SOMETHING)
    as_anthropic(bench, call)


@case("anthropic/stream-cumulative")
def cumulative(bench: Bench) -> None:
    """Usage that is told again and again, each time as the sum so far, counts once."""
    events = (start(), *WORDS, end(output_tokens=7), end(output_tokens=19), end(output_tokens=30), STOP)
    call = bench.call(ASK_STREAM, stream_of(*events))
    bench.holds(call)


@case("anthropic/stream-input-in-delta")
def input_in_delta(bench: Bench) -> None:
    """Input figures in `message_delta` replace those of the start (server tools read more than was sent)."""
    sums: Json = {"input_tokens": 500, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000}
    usage = Usage(
        prompt_tokens=2600, completion_tokens=30, total_tokens=2630, cache_read_tokens=2000,
        cache_write_5m_tokens=60, cache_write_1h_tokens=40,
    )  # fmt: skip
    script = stream_of(start(), *WORDS, end(**sums), STOP, usage=usage, usage_raw={**RAW, **sums})
    bench.holds(bench.call(ASK_STREAM, script))


@case("anthropic/stream-nulls-in-delta")
def nulls_in_delta(bench: Bench) -> None:
    """Figures that are null in `message_delta` leave those of the start alone."""
    nulls: Json = {"input_tokens": None, "cache_creation_input_tokens": None, "cache_read_input_tokens": None}
    call = bench.call(ASK_STREAM, stream_of(start(), *WORDS, end(**nulls), STOP, usage_raw=None))
    bench.holds(call)


@case("anthropic/stream-error")
def stream_error(bench: Bench) -> None:
    """The event `error` after 200 passes, then the connection is aborted; it is a `stream_error` with its type."""
    told = anthropic.typed("error", error={"type": "overloaded_error", "message": "Overloaded"})
    script = stream_of(*BEGUN, told, outcome="stream_error", usage=None, usage_raw=None)
    call = bench.call(ASK_STREAM, script)
    bench.holds(call, clean=False, error="overloaded_error", usage=COUNTED, usage_raw=ANYTHING, usage_source="partial")


@case("anthropic/stream-truncated")
def truncated(bench: Bench) -> None:
    """A stream that breaks off ends in an `event: error` that Anthropic's SDK raises on."""
    script = stream_of(*BEGUN, end="close", outcome="truncated", usage=None, usage_raw=None)
    call = bench.call(ASK_STREAM, script)
    reply = call.reply
    if reply is not None:
        tail = reply.body.removeprefix(call.delivered())
        bench.gets(
            call,
            body=That("the upstream's events, then one more", lambda b: b.startswith(call.delivered())),
            clean=False,
        )
        bench.check("the last event's name", True, tail.startswith(b"event: error\n"))
        last = That(
            "Anthropic's error", lambda e: e["type"] == "error" and e["error"]["type"] and e["error"]["message"]
        )
        bench.check("the last event", last, reply.events[-1] if reply.events else None)
    counted = That(
        "the input that was told, and the output counted",
        lambda u: u["prompt_tokens"] == 1120 and u["completion_tokens"] > 0,
    )
    bench.records(call, error=SOMETHING, usage=counted, usage_raw=ANYTHING, usage_source="partial")


@case("anthropic/client-gone")
def client_gone(bench: Bench) -> None:
    """A caller who leaves is recorded with what had been seen."""
    script = stream_of(*BEGUN, end="wait", outcome="client_gone", usage=None, usage_raw=None)
    call = bench.begin(ASK_STREAM, script)
    call.read(lambda body: body.count(b"\n\n") >= len(BEGUN))
    call.hang_up()
    bench.records(call, error="client_gone", usage=COUNTED, usage_raw=ANYTHING, usage_source="partial")


@case("anthropic/no-usage")
def no_usage(bench: Bench) -> None:
    """Where nothing is told it is estimated."""
    told = message()
    del told["usage"]
    call = bench.call(ASK, anthropic.answer(told, usage=None, usage_raw=None, service_tier=None))
    bench.holds(call, usage=COUNTED, usage_source="estimated")


def refused(status: int, kind: str, outcome: str) -> None:
    """Make a case of a refusal in Anthropic's shape."""

    @case(f"anthropic/refused-{status}", f"Anthropic's {status} passes as it came.")
    def play(bench: Bench) -> None:
        script = refusal(status, anthropic.error(kind), outcome=outcome, id_header="request-id")
        bench.holds(call_as_anthropic(bench, ASK, script), error=kind)


refused(400, "invalid_request_error", "client_error")
refused(413, "request_too_large", "client_error")
refused(429, "rate_limit_error", "upstream_error")
refused(500, "api_error", "upstream_error")
refused(529, "overloaded_error", "upstream_error")


@case("anthropic/revoked-upstream-key")
def revoked(bench: Bench) -> None:
    """The gateway's own key refused is 502 in Anthropic's shape, never 401."""
    script = refusal(401, anthropic.error("authentication_error"), outcome="upstream_error", id_header="request-id")
    call = call_as_anthropic(bench, ASK, script)
    bench.gets(call, status=502, body=containing('"type":"error"', '"api_error"'))
    bench.records(call, error="upstream_auth_failed", status=502)


@case("anthropic/wrong-key")
def wrong_key(bench: Bench) -> None:
    """A caller's wrong key is 401 in Anthropic's shape."""
    call = call_as_anthropic(bench, ASK, anthropic.answer(message()), key="sk-conformance-wrong-key-00000000")
    bench.gets(call, status=401, body=containing('"type":"error"', '"authentication_error"'))
    bench.reaches(call, requests=0)


@case("anthropic/unknown-model")
def unknown_model(bench: Bench) -> None:
    """An unknown model is 404 in Anthropic's shape, recorded as rejected."""
    body = ASK.body.replace(b'"conformance-anthropic"', b'"conformance-no-such"')
    asked = Ask(path=ASK.path, body=body, headers=ASK.headers)
    call = call_as_anthropic(bench, asked, anthropic.answer(message(), outcome="rejected"))
    bench.gets(call, status=404, body=containing('"type":"error"', '"not_found_error"'))
    bench.records(call, error="model_not_found", usage=None, usage_source="none", usage_raw=None, upstream=None)


@case("anthropic/count-tokens")
def count_tokens(bench: Bench) -> None:
    """Counting tokens passes through and uses nothing: what it answers is no usage."""
    asked = anthropic.ask(path="/v1/messages/count_tokens")
    call = call_as_anthropic(bench, asked, whole({"input_tokens": 2095}, id_header="request-id"))
    bench.holds(call, usage=None, usage_source="none", endpoint="count_tokens", finish_reason=None)
    bench.check(
        "path upstream",
        That("…/messages/count_tokens", lambda path: path.endswith("/v1/messages/count_tokens")),
        call.seen.path,
    )


@case("anthropic/beta-headers")
def beta(bench: Bench) -> None:
    """`anthropic-beta` and the caller's `anthropic-version` go up; the query does too."""
    asked = anthropic.ask(path="/v1/messages?beta=true")
    call = bench.call(asked, anthropic.answer(message()), headers={"anthropic-beta": "context-1m-2025-08-07"})
    bench.holds(call)
    bench.reaches(call, anthropic_beta="context-1m-2025-08-07", anthropic_version=VERSION)
    bench.check("query upstream", "beta=true", call.seen.path.partition("?")[2])
