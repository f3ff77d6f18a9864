"""`/v1/responses`: usage stands in the last event, whatever that one says, and is counted once."""

from __future__ import annotations

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import case
from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.judge import ANYTHING, COUNTED, SOMETHING, That, one_of
from llm_one_api.conformance.scripts import whole
from llm_one_api.conformance.shapes import responses
from llm_one_api.conformance.shapes.responses import (
    ASK,
    ASK_STREAM,
    BEGUN,
    STREAM,
    response,
    stream_of,
    typed,
)


def _as_it_came(bench: Bench, call: Call) -> None:
    """Check that the body went up unchanged: no `stream_options` belong here."""
    bench.check("body upstream", call.ask.body.replace(b"$CASE", call.token.encode()), call.seen.body)


@case("responses/whole")
def whole_response(bench: Bench) -> None:
    """A response's usage is recorded, its parts too."""
    call = bench.call(ASK, responses.answer(response()))
    bench.holds(call, endpoint="responses", finish_reason=SOMETHING)
    _as_it_came(bench, call)


@case("responses/whole-incomplete")
def whole_incomplete(bench: Bench) -> None:
    """One that ends at its limit is a success with that reason."""
    told = response("incomplete", incomplete_details={"reason": "max_output_tokens"})
    bench.holds(bench.call(ASK, responses.answer(told)), finish_reason="max_output_tokens")


@case("responses/whole-failed")
def whole_failed(bench: Bench) -> None:
    """One that has failed passes as it came; its code and its usage are recorded, and it is no success."""
    told = response("failed", error={"code": "server_error", "message": "It failed."})
    call = bench.call(ASK, responses.answer(told))
    bench.holds(call, outcome=one_of("upstream_error", "stream_error"), error="server_error", finish_reason=ANYTHING)


@case("responses/stream-completed")
def completed(bench: Bench) -> None:
    """A stream's usage stands in `response.completed`; nothing is asked for, nothing taken out."""
    call = bench.call(ASK_STREAM, STREAM)
    bench.holds(call, finish_reason=SOMETHING)
    _as_it_came(bench, call)


@case("responses/stream-incomplete")
def incomplete(bench: Bench) -> None:
    """`response.incomplete` has usage too, and is a success with its reason."""
    told = response("incomplete", incomplete_details={"reason": "max_output_tokens"})
    call = bench.call(ASK_STREAM, stream_of(*BEGUN, typed("response.incomplete", 4, response=told)))
    bench.holds(call, finish_reason="max_output_tokens")


@case("responses/stream-failed")
def failed(bench: Bench) -> None:
    """`response.failed`, the regular end of a response that failed, passes; it is a `stream_error`, with its usage."""
    told = response("failed", error={"code": "server_error", "message": "It failed."})
    script = stream_of(*BEGUN, typed("response.failed", 4, response=told), outcome="stream_error")
    bench.holds(bench.call(ASK_STREAM, script), error="server_error")


@case("responses/stream-error-event")
def error_event(bench: Bench) -> None:
    """The event `error` is a `stream_error`; as OpenAI's SDK does not raise on it, one that it raises on follows."""
    last = typed("error", 4, code="rate_limit_exceeded", message="Slow down.", param=None)
    script = stream_of(*BEGUN, last, usage=None, usage_raw=None, outcome="stream_error")
    _raises(bench, bench.call(ASK_STREAM, script), error="rate_limit_exceeded")


@case("responses/stream-truncated")
def truncated(bench: Bench) -> None:
    """A stream without its last event is truncated, in an error event that OpenAI's SDK raises on."""
    script = stream_of(*BEGUN, end="close", usage=None, usage_raw=None, outcome="truncated")
    _raises(bench, bench.call(ASK_STREAM, script), error="upstream_truncated")


def _raises(bench: Bench, call: Call, *, error: str) -> None:
    """Check that the caller got what had come, an event that the SDK raises on, and an aborted connection."""
    told = call.delivered()
    bench.gets(call, body=That("the upstream's events, then one more", lambda body: body.startswith(told)), clean=False)
    last = call.reply.events[-1] if call.reply and call.reply.events else None
    bench.check("the last event", That("an object with `error`", lambda event: event["error"]["message"]), last)
    bench.records(call, error=error, usage=COUNTED, usage_source="partial")


@case("responses/large")
def large(bench: Bench) -> None:
    """The last event may be large: it holds the whole response."""
    said = {"type": "output_text", "text": "word " * 300_000, "annotations": []}
    output = [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}]
    call = bench.call(ASK_STREAM, stream_of(*BEGUN, typed("response.completed", 4, response=response(output=output))))
    bench.holds(call, finish_reason=SOMETHING)


def by_id(method: str) -> None:
    """Make a case of a look at a response, or of its removal."""

    @case(
        f"responses/{method.lower()}-by-id",
        f"{method} /v1/responses/{{id}} passes through, and never counts the usage again.",
    )
    def play(bench: Bench) -> None:
        made = bench.call(ASK, responses.answer(response()))
        bench.holds(made, finish_reason=SOMETHING)
        told = response() if method == "GET" else {"id": "resp_$CASE", "object": "response", "deleted": True}
        ask = Ask(path="/v1/responses/resp_$CASE", method=method, headers={"x-llm-one-api-model": made.ask.model or ""})
        call = bench.call(ask, whole(told))
        bench.gets(call)
        bench.records(
            call, usage=None, usage_source="none", usage_raw=None, response_model=ANYTHING, finish_reason=ANYTHING,
            endpoint="response", cost=None,
        )  # fmt: skip
        exchange = bench.reaches(call)
        if exchange is not None:
            bench.check("method upstream", method, exchange.method)
            bench.check(
                "path upstream",
                That("the response's", lambda path: path.endswith(f"/responses/resp_{call.token}")),
                exchange.path,
            )


by_id("GET")
by_id("DELETE")


@case("responses/background")
def background(bench: Bench) -> None:
    """A response that goes on in the background has no usage yet: none is made up."""
    call = bench.call(
        responses.ask(background=True),
        responses.answer(response("queued", None), usage=None, usage_raw=None),
    )
    bench.holds(call, finish_reason=ANYTHING)
