"""How calls end: each outcome that an upstream can bring about, as the caller sees it and as it is recorded."""

from __future__ import annotations

from typing import Any

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import case
from llm_one_api.conformance.judge import ANYTHING, COUNTED, SOMETHING, That, at_least, containing, one_of
from llm_one_api.conformance.models import HASTY, IMPATIENT, REFUSED
from llm_one_api.conformance.scripts import DONE, HOLD, Pause, Script, event, refusal
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import ASK, ASK_STREAM, BEGUN, ENDED, USAGE_EVENT, stream_of
from llm_one_api.values import Outcome

OURS = containing('"error"', '"message"', '"code"')
"""An error of the gateway's own, in OpenAI's shape."""


def refused(status: int, outcome: Outcome, kind: str, code: str | None) -> None:
    """Make a case of an upstream's refusal that is the caller's to see: status and body pass as they came."""

    @case(f"outcomes/{outcome}-{status}", f"An upstream's {status} passes, and is recorded as {outcome}.")
    def play(bench: Bench) -> None:
        told = openai.error("No, because.", kind, code)
        call = bench.call(ASK, refusal(status, told, outcome=outcome))
        bench.holds(call, error=code or kind)


refused(400, "client_error", "invalid_request_error", "context_length_exceeded")
refused(404, "client_error", "invalid_request_error", "model_not_found")
refused(409, "client_error", "invalid_request_error", None)
refused(413, "client_error", "invalid_request_error", "too_large")
refused(422, "client_error", "invalid_request_error", None)
refused(500, "upstream_error", "server_error", None)
refused(502, "upstream_error", "server_error", "bad_gateway")
refused(503, "upstream_error", "server_error", "overloaded")
refused(529, "upstream_error", "overloaded_error", None)
refused(408, "timeout", "timeout_error", "timed_out")


@case("outcomes/upstream_error-429")
def too_many(bench: Bench) -> None:
    """A 429 passes with its `retry-after` and rate limits, and is an upstream's error."""
    told = openai.error("Slow down.", "requests", "rate_limit_exceeded")
    headers = (
        ("Content-Type", "application/json"), ("Retry-After", "7"), ("retry-after-ms", "6500"),
        ("x-ratelimit-remaining-requests", "0"),
    )  # fmt: skip
    call = bench.call(ASK, refusal(429, told, outcome="upstream_error", headers=headers))
    bench.holds(call, error="rate_limit_exceeded")
    if call.reply is not None:
        for name, value in (("retry-after", "7"), ("retry-after-ms", "6500"), ("x-ratelimit-remaining-requests", "0")):
            bench.check(f"reply's {name}", value, call.reply.headers.get(name))


def revoked(status: int) -> None:
    """Make a case of an upstream that refuses the gateway's own key."""

    @case(
        f"outcomes/revoked-upstream-key-{status}",
        f"Where the upstream refuses the gateway's key ({status}), the caller gets 502, never {status}.",
    )
    def play(bench: Bench) -> None:
        told = openai.error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        call = bench.call(ASK, refusal(status, told, outcome="upstream_error"))
        bench.gets(call, status=502, body=containing("upstream_auth_failed"))
        bench.records(call, error="upstream_auth_failed", status=502)
        bench.reaches(call)


revoked(401)
revoked(403)


@case("outcomes/not-json-error")
def not_json(bench: Bench) -> None:
    """An error page that is no JSON passes as it came."""
    script = Script(
        steps=(b"<html>Bad gateway</html>",),
        status=502,
        headers=(("Content-Type", "text/html"),),
        outcome="upstream_error",
    )
    bench.holds(bench.call(ASK, script), error="http_502")


@case("outcomes/connection-refused")
def connection_refused(bench: Bench) -> None:
    """An upstream that cannot be reached is 502, and its error."""
    call = bench.call(openai.ask(REFUSED), Script(outcome="upstream_error"))
    bench.gets(call, status=502, body=OURS)
    tries = That("one attempt without a status", lambda tries: [each["status"] for each in tries] == [None])
    bench.records(call, error="upstream_unreachable", attempts=tries)
    bench.reaches(call, requests=0)


def broken(name: str, says: str, script: Script, **record: Any) -> None:
    """Make a case of an answer in one piece that never came to its end: a clean 502 of the gateway's."""

    @case(f"outcomes/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(ASK, script.but(outcome="upstream_error", usage=None, usage_raw=None))
        bench.gets(call, status=502, body=OURS)
        bench.records(call, **{"error": SOMETHING, **record})


broken("closed-without-answer", "An upstream that hangs up without an answer is 502.", Script(head=False, end="close"))
broken("reset-without-answer", "One that resets the connection is 502.", Script(head=False, end="reset"))
WHOLE = openai.answer()
broken(
    "whole-broken-off",
    "An answer that breaks off before it was passed on is 502, and never a part of it.",
    WHOLE.but(steps=(WHOLE.body[:60],), framing="chunked", end="close"),
    error="upstream_truncated",
)
broken(
    "redirect",
    "A redirect is not followed.",
    Script(status=302, headers=(("Location", "http://127.0.0.1:1/elsewhere"),)),
    error="upstream_redirect",
)


def slow(name: str, says: str, model: str, script: Script, code: str, least: float) -> None:
    """Make a case of an upstream that takes too long to begin: 504."""

    @case(f"outcomes/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(openai.ask(model), script.but(outcome="timeout", usage=None, usage_raw=None))
        bench.gets(call, status=504, body=containing(code))
        bench.records(call, status=504, error=code, duration=at_least(least))
        call.account.wait(lambda account: all(each.ended for each in account.exchanges))
        bench.check("the upstream's connection", "hung up", call.seen.ended)


slow(
    "timeout-first-byte",
    "An upstream that does not begin within `first_byte_timeout` is 504.",
    IMPATIENT,
    openai.answer(before=(HOLD,)),
    "upstream_timeout_first_byte",
    2.0,
)
slow(
    "timeout-total",
    "A call that takes longer than `timeout` in all is 504.",
    HASTY,
    openai.answer(before=(HOLD,)),
    "upstream_timeout_total",
    3.0,
)


def raises(name: str, says: str, script: Script, *, model: str = "", **record: Any) -> None:
    """Make a case of a stream that comes to no good end.

    The caller gets what had come, then an error event that the SDKs raise on, then an aborted connection.
    """

    @case(f"outcomes/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(openai.ask_stream(model) if model else ASK_STREAM, script)
        reply = call.reply
        if reply is None:
            return
        whole = script.body[: script.body.rfind(b"\n\n") + 2]
        bench.gets(call, clean=False, body=That("the upstream's events, then one more", lambda b: b.startswith(whole)))
        last = reply.events[-1] if reply.events else None
        bench.check("the last event", That("an object with `error`", lambda e: e["error"]["message"]), last)
        bench.check("`[DONE]` at the end", False, "[DONE]" in reply.events)
        bench.records(call, **{"error": SOMETHING, **record})
        bench.reaches(call)


UNTOLD: dict[str, Any] = {"raw": None, "usage": None, "finish_reason": None}
raises(
    "truncated-closed",
    "A stream that breaks off is truncated: an error event, then an aborted connection.",
    stream_of(*BEGUN, end="close", outcome="truncated", **UNTOLD),
    error="upstream_truncated",
    usage=COUNTED,
    usage_source="partial",
)
raises(
    "truncated-reset",
    "So is one whose connection is reset.",
    stream_of(*BEGUN, Pause(seconds=0.2), end="reset", outcome="truncated", **UNTOLD),
    error="upstream_truncated",
    usage=COUNTED,
    usage_source="partial",
)
raises(
    "truncated-clean-end",
    "A stream that ends in order, but without a finish reason or `[DONE]`, is truncated too.",
    stream_of(*BEGUN, outcome="truncated", **UNTOLD),
    usage=COUNTED,
    usage_source="partial",
)
raises(
    "truncated-in-an-event",
    "Half an event never reaches the caller: the error event stands by itself.",
    stream_of(*BEGUN, BEGUN[1][:40], end="close", outcome="truncated", **UNTOLD),
    usage=COUNTED,
    usage_source="partial",
)
raises(
    "timeout-idle",
    "A stream that falls silent is a timeout, in an error event.",
    stream_of(*BEGUN, end="wait", outcome="timeout", **UNTOLD),
    model=IMPATIENT,
    error="upstream_timeout_idle",
    usage=COUNTED,
    usage_source="partial",
)
raises(
    "timeout-total-in-a-stream",
    "So is one that takes longer than `timeout` in all.",
    stream_of(*BEGUN, end="wait", outcome="timeout", **UNTOLD),
    model=HASTY,
    error="upstream_timeout_total",
    usage=COUNTED,
    usage_source="partial",
)


FAILED = event(openai.error("The server had an error.", "server_error", "server_error"))


@case("outcomes/stream_error")
def stream_error(bench: Bench) -> None:
    """An error event after 200 passes as it came, then the connection is aborted: it is no success."""
    script = stream_of(*BEGUN, FAILED, outcome="stream_error", raw=None, usage=None)
    call = bench.call(ASK_STREAM, script)
    bench.holds(call, clean=False, error="server_error", usage=COUNTED, usage_source="partial")


@case("outcomes/stream_error-and-done")
def stream_error_and_done(bench: Bench) -> None:
    """An error event is no success either where `[DONE]` follows."""
    script = stream_of(*BEGUN, FAILED, DONE, outcome="stream_error", raw=None, usage=None)
    call = bench.call(ASK_STREAM, script)
    told = b"".join((*BEGUN, FAILED))
    bench.gets(call, body=That("the events up to the error", lambda body: body.startswith(told)), clean=False)
    bench.records(call, error="server_error", usage=COUNTED, usage_source="partial")


@case("outcomes/broken-after-usage")
def broken_after_usage(bench: Bench) -> None:
    """A stream that breaks off when all that counts had come is a success, with the reported figures."""
    call = bench.call(ASK_STREAM, stream_of(*ENDED, USAGE_EVENT, DONE, end="close"))
    bench.records(call)


@case("outcomes/long-answer-broken-off")
def long_broken_off(bench: Bench) -> None:
    """A long answer passes as it comes; one that breaks off ends in a cut connection, and is truncated."""
    script = openai.answer(text="word " * 500_000)
    half = script.body[: len(script.body) // 2]
    cut_short = {"framing": "chunked", "end": "close", "outcome": "truncated", "usage": None, "usage_raw": None}
    call = bench.call(ASK, script.but(steps=(half,), **cut_short))
    bench.gets(call, body=That("a part of it", lambda body: len(body) > 0 and half.startswith(body)), clean=False)
    bench.records(call, error="upstream_truncated", usage=ANYTHING, usage_source=one_of("none", "partial"))


@case("outcomes/stale-connection")
def stale(bench: Bench) -> None:
    """A kept connection that the upstream closes is tried once more, on a new one: one record, two attempts."""
    line = bench.line()
    for _ in range(8):
        bench.holds(bench.call(ASK, openai.answer(), line=line))
        call = bench.call(ASK, Script(head=False, end="close"), openai.answer(), line=line)
        if call.account.exchanges and call.account.exchanges[0].nth > 1:
            bench.holds(call, requests=2)
            return
    bench.doubt("the gateway kept no connection to the upstream")
